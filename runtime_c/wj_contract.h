/* What generated code reads besides memories, tables and stores: its offsets are in wj_abi.h (wasmjit/abi.py). */
#ifndef WJ_CONTRACT_H
#define WJ_CONTRACT_H

#include "wj_base.h"

struct wj_func_ref {
    const void *code;
    void *vmctx;
    uint32_t type_id;
    uint32_t function_index;
    const void *tail_code;
};

typedef struct {
    wj_memory *memory;
    uint8_t *base;
} wj_memory_slot;

typedef struct {
    wj_table *table;
    uint64_t *elements;
} wj_table_slot;

typedef struct {
    const void *start;
    uint64_t length;
} wj_segment_slot;

/* In front of the function table of a module whose code is replaced. */
typedef struct {
    uint64_t function_count;
    struct wj_interpreter *interpreter; /* NULL: nothing of it is interpreted */
    void *reporter;                     /* PyObjects, kept by whoever keeps the table; reporter: NULL, or as interpreter */
    void *resolver;
} wj_function_table_header;

static inline const wj_function_table_header *wj_header_of(const void *functions)
{
    return (const wj_function_table_header *)functions - 1;
}

/* One of the arrays of a table for `count` functions: WJ_CODES, WJ_REGISTER_ENTRIES, WJ_COUNTERS. */
static inline uint64_t *wj_function_words(const void *functions, uint32_t array, uint64_t count)
{
    return (uint64_t *)(uintptr_t)functions + array * count;
}

/* Where the arrays of one module's instance context lie. */
typedef struct {
    uint32_t memories, tables, data_segments, element_segments;
} wj_instance;

typedef struct {
    uint32_t magic;
    uint32_t flags;
    wj_store *store;
    void *functions;
    const void *builtins;
    void *type_ids;
    const wj_instance *instance;
} wj_vmcontext;

WJ_ASSERT_OFFSET(struct wj_func_ref, code, WJ_FUNC_REF_CODE);
WJ_ASSERT_OFFSET(struct wj_func_ref, vmctx, WJ_FUNC_REF_VMCTX);
WJ_ASSERT_OFFSET(struct wj_func_ref, type_id, WJ_FUNC_REF_TYPE_ID);
WJ_ASSERT_OFFSET(struct wj_func_ref, function_index, WJ_FUNC_REF_FUNCTION_INDEX);
WJ_ASSERT_OFFSET(struct wj_func_ref, tail_code, WJ_FUNC_REF_TAIL_CODE);
WJ_ASSERT_OFFSET(wj_memory_slot, memory, WJ_MEMORY_SLOT_MEMORY);
WJ_ASSERT_OFFSET(wj_memory_slot, base, WJ_MEMORY_SLOT_BASE);
WJ_ASSERT_OFFSET(wj_table_slot, table, WJ_TABLE_SLOT_TABLE);
WJ_ASSERT_OFFSET(wj_table_slot, elements, WJ_TABLE_SLOT_ELEMENTS);
WJ_ASSERT_OFFSET(wj_segment_slot, start, WJ_SEGMENT_SLOT_START);
WJ_ASSERT_OFFSET(wj_segment_slot, length, WJ_SEGMENT_SLOT_LENGTH);
WJ_ASSERT_OFFSET(wj_function_table_header, function_count, WJ_FUNCTION_TABLE_HEADER_FUNCTION_COUNT);
WJ_ASSERT_OFFSET(wj_function_table_header, interpreter, WJ_FUNCTION_TABLE_HEADER_INTERPRETER);
WJ_ASSERT_OFFSET(wj_function_table_header, reporter, WJ_FUNCTION_TABLE_HEADER_REPORTER);
WJ_ASSERT_OFFSET(wj_function_table_header, resolver, WJ_FUNCTION_TABLE_HEADER_RESOLVER);
WJ_ASSERT_OFFSET(wj_vmcontext, magic, WJ_VMCONTEXT_MAGIC);
WJ_ASSERT_OFFSET(wj_vmcontext, flags, WJ_VMCONTEXT_FLAGS);
WJ_ASSERT_OFFSET(wj_vmcontext, store, WJ_VMCONTEXT_STORE);
WJ_ASSERT_OFFSET(wj_vmcontext, functions, WJ_VMCONTEXT_FUNCTIONS);
WJ_ASSERT_OFFSET(wj_vmcontext, builtins, WJ_VMCONTEXT_BUILTINS);
WJ_ASSERT_OFFSET(wj_vmcontext, type_ids, WJ_VMCONTEXT_TYPE_IDS);
WJ_ASSERT_OFFSET(wj_vmcontext, instance, WJ_VMCONTEXT_INSTANCE);
_Static_assert(sizeof(struct wj_func_ref) == WJ_FUNC_REF_SIZEOF, "VMFuncRef size");
_Static_assert(sizeof(wj_memory_slot) == WJ_MEMORY_SLOT_SIZEOF, "memory slot size");
_Static_assert(sizeof(wj_table_slot) == WJ_TABLE_SLOT_SIZEOF, "table slot size");
_Static_assert(sizeof(wj_segment_slot) == WJ_SEGMENT_SLOT_SIZEOF, "segment slot size");
_Static_assert(sizeof(wj_function_table_header) == WJ_FUNCTION_TABLE_HEADER_SIZEOF, "function table header size");
_Static_assert(sizeof(uint64_t) == WJ_SLOT_BYTES, "slots are words");
_Static_assert(sizeof(wj_vmcontext) == WJ_VMCONTEXT_SIZEOF, "vmcontext head size");

#endif
