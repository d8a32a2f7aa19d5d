/* Tables: table.c. */
#ifndef WJ_TABLE_H
#define WJ_TABLE_H

#include "wj_base.h"

struct wj_table {
    uint64_t *elements;
    uint64_t length;
    /* C's own */
    wj_table *next;
    wj_store *store;
    uint64_t capacity;        /* elements: growth past it is refused */
    uint64_t mapping_bytes;   /* 0: elements come from wj_store_alloc */
    uint64_t committed_bytes;
    bool has_externrefs; /* a root for those */
};

WJ_ASSERT_OFFSET(struct wj_table, elements, WJ_TABLE_ELEMENTS);
WJ_ASSERT_OFFSET(struct wj_table, length, WJ_TABLE_LENGTH);
_Static_assert(sizeof *((struct wj_table *)NULL)->elements == WJ_ELEMENT_BYTES, "elements are words");

/* ---- table.c ---- */

/* Frees the tables of a store. */
WJ_INTERNAL void wj_tables_free(wj_store *store);

/* ---- signature.c ---- */

/* Whether functions of the type with the id `found` may be called as `wanted`: it is that one or was declared to be below it.
 * Somebody holds both. */
WJ_INTERNAL bool wj_type_matches(uint32_t found, uint32_t wanted);

#endif
