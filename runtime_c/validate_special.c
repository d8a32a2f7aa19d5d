/* The rows of the opcode table that are special: each is the walker's method of its name (wasmjit/wasm/instructions.py),
 * whose features and first tier were looked at. A row without a case here is looked at again. */
#include "validate.h"

/* ---- indices ---- */

static bool function_index(wj_checker *c, uint32_t *function, uint32_t *type)
{
    if (!wj_check_index(c, function) || *function >= c->of->function_count) {
        return false;
    }
    *type = c->of->functions[*function];
    return *type < c->of->type_count && c->of->types[*type].is_function;
}

/* The type of functions that an index says. */
static bool function_type(const wj_checker *c, uint64_t index)
{
    return index < c->of->type_count && c->of->types[index].is_function && !c->of->types[index].needs_gc;
}

static bool type_index(wj_checker *c, uint32_t *type)
{
    return wj_check_index(c, type) && function_type(c, *type);
}

static bool global_index(wj_checker *c, const wj_checked_global **global)
{
    uint32_t index = 0;
    if (!wj_check_index(c, &index) || index >= c->of->global_count) {
        return false;
    }
    *global = &c->of->globals[index];
    return true;
}

static bool table_index(wj_checker *c, const wj_checked_table **table)
{
    uint32_t index = 0;
    if (!wj_check_index(c, &index) || index >= c->of->table_count) {
        return false;
    }
    *table = &c->of->tables[index];
    return true;
}

/* The address type of a memory. */
static bool memory_index(wj_checker *c, uint32_t *address)
{
    uint32_t index = 0;
    if (!wj_check_index(c, &index) || index >= c->of->memory_count) {
        return false;
    }
    *address = c->of->memories[index];
    return true;
}

static bool data_index(wj_checker *c)
{
    uint32_t index = 0;
    return wj_check_index(c, &index) && c->of->has_data_count && index < c->of->data_count;
}

/* The type of a segment's elements. */
static bool element_index(wj_checker *c, uint32_t *type)
{
    uint32_t index = 0;
    if (!wj_check_index(c, &index) || index >= c->of->element_segment_count) {
        return false;
    }
    *type = c->of->element_segments[index];
    return true;
}

static uint32_t count_type(uint32_t to, uint32_t from)
{
    return to == WJ_TYPE_I64 && from == WJ_TYPE_I64 ? WJ_TYPE_I64 : WJ_TYPE_I32;
}

/* ---- control ---- */

/* The parameter types of a frame. */
static const uint32_t *params_of(const wj_checker *c, const wj_checked_frame *frame, size_t *count)
{
    if ((frame->type & WJ_INDEXED) == 0) {
        *count = 0;
        return &frame->type;
    }
    *count = c->of->types[frame->type & ~WJ_INDEXED].param_count;
    return wj_checked_params(c, frame->type & ~WJ_INDEXED);
}

static const uint32_t *results_of(const wj_checker *c, const wj_checked_frame *frame, size_t *count)
{
    if ((frame->type & WJ_INDEXED) == 0) {
        *count = frame->type != 0;
        return &frame->type;
    }
    *count = c->of->types[frame->type & ~WJ_INDEXED].result_count;
    return wj_checked_results(c, frame->type & ~WJ_INDEXED);
}

/* What a branch to a frame carries. */
static const uint32_t *label_types(const wj_checker *c, const wj_checked_frame *frame, size_t *count)
{
    return frame->opcode == WJ_ROW_LOOP ? params_of(c, frame, count) : results_of(c, frame, count);
}

static bool pop_results(wj_checker *c, const wj_checked_frame *frame)
{
    size_t count = 0;
    const uint32_t *types = results_of(c, frame, &count);
    return count == 0 || wj_pop_all(c, types, count);
}

/* The rest of the frame cannot be reached. */
static bool set_unreachable(wj_checker *c)
{
    wj_checked_top(c)->unreachable = true;
    c->top = c->base;
    return true;
}

static bool block_type(wj_checker *c, uint32_t *type)
{
    enum { EMPTY = 0x40, KIND = 0xc0, INDEX_BITS = 33 };
    int64_t index = -1;
    if (c->at == c->end) {
        return false;
    }
    if (*c->at == EMPTY) {
        c->at++;
        *type = 0;
        return true;
    }
    if ((*c->at & KIND) == EMPTY) {
        return wj_check_value_type(c, type);
    }
    if (!wj_check_signed(c, INDEX_BITS, &index) || index < 0 || !function_type(c, (uint64_t)index)) {
        return false;
    }
    *type = (uint32_t)index | WJ_INDEXED;
    return true;
}

static bool enter(wj_checker *c, uint32_t opcode)
{
    wj_checked_frame made = {.opcode = (uint16_t)opcode, .set_count = c->set_count};
    size_t count = 0;
    if (!block_type(c, &made.type) || (opcode == WJ_ROW_IF && !wj_pop(c, WJ_TYPE_I32))) {
        return false;
    }
    const uint32_t *types = params_of(c, &made, &count);
    if (count != 0 && !wj_pop_all(c, types, count)) {
        return false;
    }
    if (c->frame_count == c->frame_room) {
        wj_checked_frame *grown = realloc(c->frames, c->frame_room * 2 * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        c->frames = grown;
        c->frame_room *= 2;
    }
    made.height = (uint32_t)(c->top - c->operands);
    c->base = c->top;
    c->frames[c->frame_count++] = made;
    return wj_push_all(c, types, count);
}

/* At the end of the frame, or `else`: what was set in it is not set any more. */
static void leave_locals(wj_checker *c, const wj_checked_frame *frame)
{
    while (c->set_count > frame->set_count) {
        c->unset[c->set[--c->set_count]] = true;
    }
}

static bool otherwise(wj_checker *c)
{
    wj_checked_frame *frame = wj_checked_top(c);
    size_t count = 0;
    if (frame->opcode != WJ_ROW_IF || !pop_results(c, frame) || c->top != c->base) {
        return false;
    }
    leave_locals(c, frame);
    frame->opcode = WJ_ROW_ELSE;
    frame->unreachable = false;
    const uint32_t *types = params_of(c, frame, &count);
    return wj_push_all(c, types, count);
}

/* An `if` without `else` hands its parameters on. */
static bool is_complete(wj_checker *c, const wj_checked_frame *frame)
{
    size_t param_count = 0;
    size_t result_count = 0;
    const uint32_t *params = params_of(c, frame, &param_count);
    const uint32_t *results = results_of(c, frame, &result_count);
    if (param_count != result_count || !wj_check_work(c, param_count)) {
        return false;
    }
    for (size_t i = 0; i < param_count; i++) {
        if (!wj_check_match(c, params[i], results[i])) {
            return false;
        }
    }
    return true;
}

static bool leave(wj_checker *c)
{
    wj_checked_frame frame = *wj_checked_top(c);
    size_t count = 0;
    if (!pop_results(c, &frame) || c->top != c->base || (frame.opcode == WJ_ROW_IF && !is_complete(c, &frame))) {
        return false;
    }
    leave_locals(c, &frame);
    if (--c->frame_count == 0) {
        c->is_done = true;
        return true;
    }
    c->base = c->operands + wj_checked_top(c)->height;
    const uint32_t *types = results_of(c, &frame, &count);
    return count == 0 || wj_push_all(c, types, count);
}

static bool target(wj_checker *c, const wj_checked_frame **frame)
{
    uint32_t depth = 0;
    if (!wj_check_index(c, &depth) || depth >= c->frame_count) {
        return false;
    }
    *frame = &c->frames[c->frame_count - 1 - depth];
    return true;
}

static bool branch(wj_checker *c)
{
    const wj_checked_frame *frame = NULL;
    size_t count = 0;
    if (!target(c, &frame)) {
        return false;
    }
    const uint32_t *types = label_types(c, frame, &count);
    return (count == 0 || wj_check_all(c, types, count)) && set_unreachable(c);
}

static bool branch_if(wj_checker *c)
{
    const wj_checked_frame *frame = NULL;
    size_t count = 0;
    if (!target(c, &frame) || !wj_pop(c, WJ_TYPE_I32)) {
        return false;
    }
    const uint32_t *types = label_types(c, frame, &count);
    return count == 0 || (wj_pop_all(c, types, count) && wj_push_all(c, types, count));
}

static bool branch_table(wj_checker *c)
{
    uint32_t labels = 0;
    size_t arity = 0;
    if (!wj_check_index(c, &labels) || !wj_pop(c, WJ_TYPE_I32)) {
        return false;
    }
    for (uint64_t i = 0; i <= labels; i++) { /* each takes a byte at least */
        const wj_checked_frame *frame = NULL;
        size_t count = 0;
        if (!target(c, &frame)) {
            return false;
        }
        const uint32_t *types = label_types(c, frame, &count);
        if ((i != 0 && count != arity) || (count != 0 && !wj_check_all(c, types, count))) {
            return false;
        }
        arity = count;
    }
    return set_unreachable(c);
}

static bool leave_function(wj_checker *c)
{
    return pop_results(c, &c->frames[0]) && set_unreachable(c);
}

/* ---- calls ---- */

static bool call(wj_checker *c, uint32_t type)
{
    const wj_checked_type *callee = &c->of->types[type];
    return wj_pop_all(c, wj_checked_params(c, type), callee->param_count) &&
           wj_push_all(c, wj_checked_results(c, type), callee->result_count);
}

static bool tail_call(wj_checker *c, uint32_t type)
{
    const wj_checked_type *callee = &c->of->types[type];
    const wj_checked_type *caller = &c->of->types[c->results];
    c->has_tail_calls = true;
    if (callee->result_count != caller->result_count || !wj_check_work(c, callee->result_count)) {
        return false;
    }
    for (uint32_t i = 0; i < callee->result_count; i++) {
        if (!wj_check_match(c, wj_checked_results(c, type)[i], wj_checked_results(c, c->results)[i])) {
            return false;
        }
    }
    return wj_pop_all(c, wj_checked_params(c, type), callee->param_count) && set_unreachable(c);
}

static bool direct_callee(wj_checker *c, uint32_t *type)
{
    uint32_t function = 0;
    return function_index(c, &function, type);
}

static bool indirect_callee(wj_checker *c, uint32_t *type)
{
    const wj_checked_table *table = NULL;
    return type_index(c, type) && table_index(c, &table) && wj_check_match(c, table->element, WJ_TYPE_FUNCREF) &&
           wj_pop(c, table->address);
}

static bool callee_by_reference(wj_checker *c, uint32_t *type)
{
    return type_index(c, type) && wj_pop(c, c->of->types[*type].reference);
}

/* ---- variables ---- */

static bool local_get(wj_checker *c)
{
    uint32_t index = 0;
    return wj_check_index(c, &index) && index < c->local_count && !(c->unset != NULL && c->unset[index]) &&
           wj_push(c, c->locals[index]);
}

static bool local_set(wj_checker *c, bool is_tee)
{
    uint32_t index = 0;
    if (!wj_check_index(c, &index) || index >= c->local_count) {
        return false;
    }
    if (c->unset != NULL && c->unset[index]) {
        c->unset[index] = false;
        c->set[c->set_count++] = index;
    }
    return wj_pop(c, c->locals[index]) && (!is_tee || wj_push(c, c->locals[index]));
}

static bool global_get(wj_checker *c)
{
    const wj_checked_global *global = NULL;
    if (!global_index(c, &global)) {
        return false;
    }
    return wj_push(c, global->content);
}

static bool global_set(wj_checker *c)
{
    const wj_checked_global *global = NULL;
    return global_index(c, &global) && global->is_mutable && wj_pop(c, global->content);
}

static bool constant(wj_checker *c, unsigned bits, uint32_t type)
{
    int64_t value = 0;
    return wj_check_signed(c, bits, &value) && wj_push(c, type);
}

static bool float_constant(wj_checker *c, ptrdiff_t bytes, uint32_t type)
{
    if (c->end - c->at < bytes) {
        return false;
    }
    c->at += bytes;
    return wj_push(c, type);
}

static bool is_number(uint32_t type)
{
    return type == WJ_TYPE_I32 || type == WJ_TYPE_I64 || type == WJ_TYPE_F32 || type == WJ_TYPE_F64 || type == WJ_TYPE_V128;
}

static bool select_number(wj_checker *c)
{
    uint32_t first = 0;
    uint32_t second = 0;
    if (!wj_pop(c, WJ_TYPE_I32) || !wj_pop_any(c, &first) || !wj_pop_any(c, &second)) {
        return false;
    }
    uint32_t known = first != WJ_TYPE_UNKNOWN ? first : second;
    bool fits = second == known || second == WJ_TYPE_UNKNOWN;
    return fits && (known == WJ_TYPE_UNKNOWN || is_number(known)) && wj_push(c, known);
}

static bool select_typed(wj_checker *c)
{
    uint32_t count = 0;
    uint32_t type = 0;
    return wj_check_index(c, &count) && count == 1 && wj_check_value_type(c, &type) && wj_pop(c, WJ_TYPE_I32) &&
           wj_pop(c, type) && wj_pop(c, type) && wj_push(c, type);
}

/* ---- references and tables ---- */

/* Pops a reference; its type, WJ_TYPE_NON_NULL where nothing is known of it. */
static bool pop_reference(wj_checker *c, uint32_t *type)
{
    if (!wj_pop_any(c, type)) {
        return false;
    }
    if (*type == WJ_TYPE_UNKNOWN) {
        *type = WJ_TYPE_NON_NULL;
    }
    return wj_is_reference(*type);
}

static bool ref_null(wj_checker *c)
{
    uint32_t type = 0;
    return wj_check_heap_type(c, &type) && wj_push(c, type);
}

static bool ref_is_null(wj_checker *c)
{
    uint32_t type = 0;
    return pop_reference(c, &type) && wj_push(c, WJ_TYPE_I32);
}

static bool ref_as_non_null(wj_checker *c)
{
    uint32_t type = 0;
    return pop_reference(c, &type) && wj_push(c, type | WJ_TYPE_NON_NULL);
}

static bool ref_func(wj_checker *c)
{
    uint32_t function = 0;
    uint32_t type = 0;
    return function_index(c, &function, &type) && c->of->is_referenced[function] &&
           wj_push(c, c->of->types[type].reference | WJ_TYPE_NON_NULL);
}

static bool branch_on_null(wj_checker *c)
{
    const wj_checked_frame *frame = NULL;
    uint32_t type = 0;
    size_t count = 0;
    if (!target(c, &frame) || !pop_reference(c, &type)) {
        return false;
    }
    const uint32_t *types = label_types(c, frame, &count);
    return wj_pop_all(c, types, count) && wj_push_all(c, types, count) && wj_push(c, type | WJ_TYPE_NON_NULL);
}

static bool branch_on_non_null(wj_checker *c)
{
    const wj_checked_frame *frame = NULL;
    uint32_t type = 0;
    size_t count = 0;
    if (!target(c, &frame)) {
        return false;
    }
    const uint32_t *types = label_types(c, frame, &count);
    if (count == 0 || !wj_is_reference(types[count - 1]) || !pop_reference(c, &type) ||
        !wj_check_match(c, type | WJ_TYPE_NON_NULL, types[count - 1])) {
        return false;
    }
    return wj_pop_all(c, types, count - 1) && wj_push_all(c, types, count - 1);
}

static bool table_access(wj_checker *c, uint32_t opcode)
{
    const wj_checked_table *table = NULL;
    if (!table_index(c, &table)) {
        return false;
    }
    switch (opcode) {
    case WJ_ROW_TABLE_GET:
        return wj_pop(c, table->address) && wj_push(c, table->element);
    case WJ_ROW_TABLE_SET:
        return wj_pop(c, table->element) && wj_pop(c, table->address);
    case WJ_ROW_TABLE_GROW:
        return wj_pop(c, table->address) && wj_pop(c, table->element) && wj_push(c, table->address);
    case WJ_ROW_TABLE_SIZE:
        return wj_push(c, table->address);
    default:
        return opcode == WJ_ROW_TABLE_FILL && wj_pop(c, table->address) && wj_pop(c, table->element) &&
               wj_pop(c, table->address);
    }
}

static bool table_init(wj_checker *c)
{
    const wj_checked_table *table = NULL;
    uint32_t type = 0;
    return element_index(c, &type) && table_index(c, &table) && wj_check_match(c, type, table->element) &&
           wj_pop(c, WJ_TYPE_I32) && wj_pop(c, WJ_TYPE_I32) && wj_pop(c, table->address);
}

static bool table_copy(wj_checker *c)
{
    const wj_checked_table *to = NULL;
    const wj_checked_table *from = NULL;
    return table_index(c, &to) && table_index(c, &from) && wj_check_match(c, from->element, to->element) &&
           wj_pop(c, count_type(to->address, from->address)) && wj_pop(c, from->address) && wj_pop(c, to->address);
}

/* ---- memories and segments ---- */

static bool memory_size(wj_checker *c)
{
    uint32_t address = 0;
    return memory_index(c, &address) && wj_push(c, address);
}

static bool memory_grow(wj_checker *c)
{
    uint32_t address = 0;
    return memory_index(c, &address) && wj_pop(c, address) && wj_push(c, address);
}

static bool memory_init(wj_checker *c)
{
    uint32_t address = 0;
    return data_index(c) && memory_index(c, &address) && wj_pop(c, WJ_TYPE_I32) && wj_pop(c, WJ_TYPE_I32) &&
           wj_pop(c, address);
}

static bool memory_copy(wj_checker *c)
{
    uint32_t to = 0;
    uint32_t from = 0;
    return memory_index(c, &to) && memory_index(c, &from) && wj_pop(c, count_type(to, from)) && wj_pop(c, from) && wj_pop(c, to);
}

static bool memory_fill(wj_checker *c)
{
    uint32_t address = 0;
    return memory_index(c, &address) && wj_pop(c, address) && wj_pop(c, WJ_TYPE_I32) && wj_pop(c, address);
}

static bool elem_drop(wj_checker *c)
{
    uint32_t type = 0;
    return element_index(c, &type);
}

/* ---- wide arithmetic ---- */

static bool wide(wj_checker *c, int operand_count)
{
    for (; operand_count != 0; operand_count--) {
        if (!wj_pop(c, WJ_TYPE_I64)) {
            return false;
        }
    }
    (void)wj_push(c, WJ_TYPE_I64);
    return wj_push(c, WJ_TYPE_I64);
}

/* ---- by opcode ---- */

static bool control(wj_checker *c, uint32_t opcode)
{
    uint32_t type = 0;
    switch (opcode) {
    case WJ_ROW_UNREACHABLE:
        return set_unreachable(c);
    case WJ_ROW_NOP:
        return true;
    case WJ_ROW_BLOCK:
    case WJ_ROW_LOOP:
    case WJ_ROW_IF:
        return enter(c, opcode);
    case WJ_ROW_ELSE:
        return otherwise(c);
    case WJ_ROW_END:
        return leave(c);
    case WJ_ROW_BR:
        return branch(c);
    case WJ_ROW_BR_IF:
        return branch_if(c);
    case WJ_ROW_BR_TABLE:
        return branch_table(c);
    case WJ_ROW_RETURN:
        return leave_function(c);
    case WJ_ROW_BR_ON_NULL:
        return branch_on_null(c);
    case WJ_ROW_BR_ON_NON_NULL:
        return branch_on_non_null(c);
    case WJ_ROW_CALL:
        return direct_callee(c, &type) && call(c, type);
    case WJ_ROW_CALL_INDIRECT:
        return indirect_callee(c, &type) && call(c, type);
    case WJ_ROW_CALL_REF:
        return callee_by_reference(c, &type) && call(c, type);
    case WJ_ROW_RETURN_CALL:
        return direct_callee(c, &type) && tail_call(c, type);
    case WJ_ROW_RETURN_CALL_INDIRECT:
        return indirect_callee(c, &type) && tail_call(c, type);
    case WJ_ROW_RETURN_CALL_REF:
        return wj_check_feature(c, WJ_FEATURE_TAIL_CALL) && callee_by_reference(c, &type) && tail_call(c, type);
    default:
        return false;
    }
}

static bool bulk(wj_checker *c, uint32_t opcode)
{
    switch (opcode) {
    case WJ_ROW_MEMORY_INIT:
        return memory_init(c);
    case WJ_ROW_DATA_DROP:
        return data_index(c);
    case WJ_ROW_MEMORY_COPY:
        return memory_copy(c);
    case WJ_ROW_MEMORY_FILL:
        return memory_fill(c);
    case WJ_ROW_TABLE_INIT:
        return table_init(c);
    case WJ_ROW_ELEM_DROP:
        return elem_drop(c);
    case WJ_ROW_TABLE_COPY:
        return table_copy(c);
    case WJ_ROW_TABLE_GROW:
    case WJ_ROW_TABLE_SIZE:
    case WJ_ROW_TABLE_FILL:
        return table_access(c, opcode);
    case WJ_ROW_I64_ADD128:
    case WJ_ROW_I64_SUB128:
        return wide(c, 4);
    case WJ_ROW_I64_MUL_WIDE_S:
    case WJ_ROW_I64_MUL_WIDE_U:
        return wide(c, 2);
    default:
        return false;
    }
}

bool wj_check_special(wj_checker *c, uint32_t opcode)
{
    enum { F32_BYTES = 4, F64_BYTES = 8, BITS_32 = 32, BITS_64 = 64, PREFIXED = 0x100 };
    uint32_t any = 0;
    switch (opcode) {
    case WJ_ROW_DROP:
        return wj_pop_any(c, &any);
    case WJ_ROW_SELECT:
        return select_number(c);
    case WJ_ROW_SELECT_TYPED:
        return select_typed(c);
    case WJ_ROW_LOCAL_GET:
        return local_get(c);
    case WJ_ROW_LOCAL_SET:
        return local_set(c, false);
    case WJ_ROW_LOCAL_TEE:
        return local_set(c, true);
    case WJ_ROW_GLOBAL_GET:
        return global_get(c);
    case WJ_ROW_GLOBAL_SET:
        return global_set(c);
    case WJ_ROW_TABLE_GET:
    case WJ_ROW_TABLE_SET:
        return table_access(c, opcode);
    case WJ_ROW_MEMORY_SIZE:
        return memory_size(c);
    case WJ_ROW_MEMORY_GROW:
        return memory_grow(c);
    case WJ_ROW_I32_CONST:
        return constant(c, BITS_32, WJ_TYPE_I32);
    case WJ_ROW_I64_CONST:
        return constant(c, BITS_64, WJ_TYPE_I64);
    case WJ_ROW_F32_CONST:
        return float_constant(c, F32_BYTES, WJ_TYPE_F32);
    case WJ_ROW_F64_CONST:
        return float_constant(c, F64_BYTES, WJ_TYPE_F64);
    case WJ_ROW_REF_NULL:
        return ref_null(c);
    case WJ_ROW_REF_IS_NULL:
        return ref_is_null(c);
    case WJ_ROW_REF_FUNC:
        return ref_func(c);
    case WJ_ROW_REF_AS_NON_NULL:
        return ref_as_non_null(c);
    default:
        return opcode < PREFIXED ? control(c, opcode) : bulk(c, opcode);
    }
}
