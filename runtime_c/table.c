/* Tables. No Python here. */
#include "address_space.h"

#include <stdlib.h>
#include <string.h>

#define SMALL_TABLE_ELEMENTS 512u

static void fill_elements(uint64_t *elements, uint64_t count, uint64_t value)
{
    for (uint64_t i = 0; i < count; i++) {
        elements[i] = value;
    }
}

/* All that the mask of an index lets through (abi.table_mask) has to be the table's. */
static uint64_t masked_elements(uint64_t capacity)
{
    uint64_t room = 1;
    while (room < capacity) {
        room *= 2;
    }
    return room;
}

/* Storage for table->capacity elements, with the first `length` usable. Small tables live in the store's own
 * allocations: two system calls would dominate an instantiation. */
static bool map_table(wj_table *table, uint64_t length)
{
    uint64_t room = masked_elements(table->capacity);
    if (room <= SMALL_TABLE_ELEMENTS) {
        table->elements = wj_store_alloc(table->store, room * WJ_ELEMENT_BYTES);
        errno = ENOMEM;
        return table->elements != NULL;
    }
    uint64_t page_bytes = host_page_bytes();
    table->mapping_bytes = round_up(room * WJ_ELEMENT_BYTES, page_bytes);
    table->committed_bytes = round_up(length * WJ_ELEMENT_BYTES, page_bytes);
    uint8_t *mapping = reserve(table->mapping_bytes);
    if (mapping == NULL) {
        return false;
    }
    if (!commit(mapping, table->committed_bytes)) {
        int error = errno;
        munmap(mapping, table->mapping_bytes);
        errno = error;
        return false;
    }
    table->elements = (uint64_t *)(void *)mapping;
    return true;
}

wj_table *wj_table_new(wj_store *store, uint64_t min, uint64_t max, uint64_t init, int *error)
{
    if (min > max) {
        *error = EINVAL;
        return NULL;
    }
    if (min > WJ_MAX_TABLE_ELEMENTS) {
        *error = ENOMEM;
        return NULL;
    }
    if (!take_new(store, min, &store->max_table_elements, min * WJ_ELEMENT_BYTES)) {
        *error = EDQUOT;
        return NULL;
    }
    wj_table *table = calloc(1, sizeof *table);
    if (table == NULL) {
        *error = ENOMEM;
        give_back(store, min * WJ_ELEMENT_BYTES);
        return NULL;
    }
    table->store = store;
    table->capacity = at_most(max, WJ_MAX_TABLE_ELEMENTS);
    if (!map_table(table, min)) {
        *error = errno;
        give_back(store, min * WJ_ELEMENT_BYTES);
        free(table);
        return NULL;
    }
    if (init != 0) {
        fill_elements(table->elements, min, init);
    }
    table->length = min;
    wj_lock_take(&store->lock);
    table->next = store->tables;
    store->tables = table;
    wj_lock_give(&store->lock);
    *error = 0;
    return table;
}

uintptr_t wj_table_elements(wj_table *table)
{
    return (uintptr_t)table->elements;
}

uint64_t wj_table_length(wj_table *table)
{
    return __atomic_load_n(&table->length, __ATOMIC_ACQUIRE);
}

/* Needs store->lock. */
static uint64_t grow_table(wj_table *table, uint64_t delta, uint64_t init)
{
    uint64_t old_length = table->length;
    if (delta == 0) {
        return old_length;
    }
    if (delta > table->capacity - old_length) {
        return WJ_REFUSED;
    }
    uint64_t length = old_length + delta;
    if (length > table->store->max_table_elements || !take_bytes(table->store, delta * WJ_ELEMENT_BYTES)) {
        return WJ_REFUSED;
    }
    if (table->mapping_bytes != 0) {
        uint64_t committed_bytes = round_up(length * WJ_ELEMENT_BYTES, host_page_bytes());
        if (committed_bytes > table->committed_bytes) {
            uint8_t *end = (uint8_t *)table->elements + table->committed_bytes;
            if (!commit(end, committed_bytes - table->committed_bytes)) {
                table->store->total_bytes -= delta * WJ_ELEMENT_BYTES;
                return WJ_REFUSED;
            }
            table->committed_bytes = committed_bytes;
        }
    }
    if (init != 0) { /* fresh storage is zero, and tables never shrink */
        fill_elements(table->elements + old_length, delta, init);
    }
    __atomic_store_n(&table->length, length, __ATOMIC_RELEASE);
    return old_length;
}

uint64_t wj_table_grow(wj_table *table, uint64_t delta, uint64_t init)
{
    wj_lock_take(&table->store->lock);
    uint64_t old_length = grow_table(table, delta, init);
    wj_lock_give(&table->store->lock);
    return old_length;
}

int wj_table_get(wj_table *table, uint64_t index, uint64_t *value)
{
    if (index >= wj_table_length(table)) {
        return 1;
    }
    *value = table->elements[index];
    return 0;
}

int wj_table_set(wj_table *table, uint64_t index, uint64_t value)
{
    if (index >= wj_table_length(table)) {
        return 1;
    }
    table->elements[index] = value;
    return 0;
}

void wj_table_set_all(wj_table *table, uint64_t reference)
{
    for (uint64_t i = 0; reference != 0 && i < table->length; i++) {
        table->elements[i] = reference;
    }
}

int wj_table_write(wj_table *table, uint64_t start, const uint64_t *source, uint64_t count)
{
    if (!wj_in_bounds(start, count, wj_table_length(table))) {
        return 1;
    }
    memmove(table->elements + start, source, count * WJ_ELEMENT_BYTES);
    return 0;
}

/* At the end of a store. */
void wj_tables_free(wj_store *store)
{
    for (wj_table *table = store->tables, *next; table != NULL; table = next) {
        next = table->next;
        if (table->mapping_bytes != 0) {
            munmap(table->elements, table->mapping_bytes);
        }
        free(table);
    }
    store->tables = NULL;
}
