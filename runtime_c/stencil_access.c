/* Accesses to memories, from the interpreter's words to stencils.
 *
 * A register has the base of one memory; where blocks begin and end that is the function's home memory. The first memory has
 * guard pages mostly, and so may others: then what lies behind their end faults. Else the end of an access is compared with
 * the size first. Memories never shrink: what was compared once need not be again, as long as the address is the same. */
#include "stencil_translate.h"

#ifdef WJ_HAS_STENCILS

/* NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */

/* To be added to the stencils of an access, and of a check (wasmjit/stencils/text.py). */
enum { FAR_ACCESS = 1, NARROW_ACCESS = 2, FIXED_ACCESS = 3 };
enum { FAR_CHECK = 1, NARROW_CHECK = 2, WIDE_CHECK = 3, WIDE_FAR_CHECK = 4 };
enum { WEIGHT_OF_DEPTH = 3, MOST_DEPTH = 16 };
enum { VECTOR_BYTES = 16 };
enum { NO_CHECK_KIND = 0 }; /* of a memory with addresses of 32 bits and guard pages (wj_interpreter_plan.memory_kinds) */

typedef struct {
    uint32_t memory;
    uint64_t offset;
    bool is_wide;
    bool is_checked;
} memory_access;

static bool is_vector(uint32_t compared_operation)
{
    return compared_operation == WJ_OP_V128_LOAD_CHECKED || compared_operation == WJ_OP_V128_STORE_CHECKED;
}

static bool is_compared(uint32_t operation)
{
    return (operation >= WJ_OP_I32_LOAD_CHECKED && operation <= WJ_OP_I64_STORE32_CHECKED) || is_vector(operation);
}

static uint32_t access_bytes(uint32_t compared_operation)
{
    static const uint8_t sizes[] = {
#define WJ_X(opcode, name, memory_type, ...) [WJ_OP_##name##_CHECKED - WJ_OP_I32_LOAD_CHECKED] = sizeof(memory_type),
        WJ_LOAD_ROWS(WJ_X) WJ_STORE_ROWS(WJ_X)
#undef WJ_X
    };
    return is_vector(compared_operation) ? VECTOR_BYTES : sizes[compared_operation - WJ_OP_I32_LOAD_CHECKED];
}

/* `word`: an operation, two slots, and what is read here. */
static memory_access access_of(const stencil_emitter *e, const uint32_t *word)
{
    if (!is_compared(word[0])) {
        return (memory_access){.memory = 0, .offset = word[3]};
    }
    memory_access of = {.memory = word[3] / 2, .is_wide = word[3] % 2 != 0, .offset = word[4] | (uint64_t)word[5] << 32};
    const wj_interpreter_plan *plan = &e->of->plan;
    bool has_guard = plan->memory_kinds[of.memory] == NO_CHECK_KIND;
    of.is_checked = !has_guard || of.offset + access_bytes(word[0]) > plan->guard_bytes;
    return of;
}

void wj_count_access(stencil_emitter *e, const uint32_t *word, uint32_t depth)
{
    memory_access of = access_of(e, word);
    e->uses_memory = true;
    e->has_scratch_slot = e->has_scratch_slot || (of.is_wide && of.offset > INT32_MAX);
    if (of.memory < COUNTED_MEMORIES) {
        e->memory_uses[of.memory] += UINT64_C(1) << WEIGHT_OF_DEPTH * (depth < MOST_DEPTH ? depth : MOST_DEPTH);
        e->home_memory = e->memory_uses[of.memory] > e->memory_uses[e->home_memory] ? of.memory : e->home_memory;
    }
}

void wj_use_home_memory(stencil_emitter *e)
{
    if (e->uses_memory) {
        wj_use_memory(e, e->home_memory);
    }
}

/* ---- comparisons ---- */

void wj_forget_checks(stencil_emitter *e)
{
    e->check_count = 0;
}

void wj_forget_checks_of(stencil_emitter *e, const stencil_instruction *found)
{
    if ((found->flags & METERS) != 0) {
        return;
    }
    if (found->stencil == 0) {
        wj_forget_checks(e);
        return;
    }
    if (wj_stencil_operations[found->stencil - 1].has_result == 0) {
        return;
    }
    for (uint32_t i = e->check_count; i > 0; i--) {
        if (e->checks[i - 1].address == found->slots[0]) {
            e->checks[i - 1] = e->checks[--e->check_count];
        }
    }
}

/* Whether it was compared; if not, it is from now on. */
static bool was_checked(stencil_emitter *e, uint32_t memory, uint32_t address, uint64_t end)
{
    if (wj_is_operand(e, address)) { /* used once */
        return false;
    }
    for (uint32_t i = 0; i < e->check_count; i++) {
        if (e->checks[i].memory == memory && e->checks[i].address == address) {
            bool is_known = end <= e->checks[i].end;
            e->checks[i].end = is_known ? e->checks[i].end : end;
            return is_known;
        }
    }
    uint32_t place = e->check_count < MOST_CHECKS ? e->check_count++ : e->next_check++ % MOST_CHECKS;
    e->checks[place].memory = memory;
    e->checks[place].address = address;
    e->checks[place].end = end;
    return false;
}

void wj_emit_check(stencil_emitter *e, uint32_t memory, uint32_t address, uint64_t end, bool is_wide)
{
    if (was_checked(e, memory, address, end)) {
        return;
    }
    wj_load_constant(e, address, false);
    uint32_t number = (uint32_t)wj_stencils_of[WJ_OP_CHECK] - 1;
    if (is_wide) {
        number += end > INT32_MAX ? WIDE_FAR_CHECK : WIDE_CHECK;
    } else if (end > INT32_MAX) {
        number += FAR_CHECK;
    } else if (wj_is_narrow(e, address)) {
        number += NARROW_CHECK;
    }
    e->context_offset = e->of->plan.memories_offset + WJ_MEMORY_SLOT_SIZEOF * memory + WJ_MEMORY_SLOT_MEMORY;
    wj_emit_row(e, &(stencil_row){.number = number, .slots = &address, .constant = end});
}

/* ---- accesses ---- */

/* The address, plus an offset that no instruction has room for: no sum wraps, since it was compared. */
static uint32_t add_offset(stencil_emitter *e, uint32_t address, uint64_t offset)
{
    wj_place_constant(e, e->scratch_slot, offset);
    uint32_t slots[] = {e->scratch_slot, address, e->scratch_slot};
    wj_emit_row(e, &(stencil_row){.number = (uint32_t)wj_stencils_of[WJ_OP_I64_ADD] - 1, .slots = slots, .uses = true});
    return e->scratch_slot;
}

/* An access whose address is a constant, which an instruction has room for with the offset. False: it is none. */
static bool emit_fixed(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word, const memory_access *of)
{
    bool has_result = wj_stencil_operations[found->stencil - 1].has_result != 0;
    uint32_t address = found->slots[has_result];
    const uint64_t *constant = wj_constant_of(e, address);
    if (constant == NULL || of->is_wide || of->is_checked || *word == WJ_OP_V128_LOAD || *word == WJ_OP_V128_STORE ||
        is_vector(*word)) {
        return false;
    }
    uint64_t place = of->offset + (uint32_t)*constant;
    if (place > INT32_MAX) {
        return false;
    }
    wj_drop_operand(e, address);
    wj_use_memory(e, of->memory);
    stencil_row row = {.number = found->stencil - 1 + FIXED_ACCESS, .slots = &found->slots[!has_result], .constant = place, .uses = true};
    wj_emit_row(e, &row);
    return true;
}

void wj_emit_access(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word)
{
    memory_access of = access_of(e, word);
    if (emit_fixed(e, found, word, &of)) {
        return;
    }
    const wj_stencil_operation *operation = &wj_stencil_operations[found->stencil - 1];
    uint32_t slots[2] = {found->slots[0], found->slots[1]};
    uint32_t *address = &slots[operation->has_result];
    stencil_row row = {.number = found->stencil - 1, .slots = slots, .constant = of.offset, .uses = true};
    if (operation->has_result == 0) {
        wj_load_constant(e, slots[1], (operation->floats >> 1 & 1) != 0); /* which may take the address's register */
    }
    wj_use_memory(e, of.memory);
    if (of.is_checked) {
        uint64_t end;
        if (__builtin_add_overflow(of.offset, access_bytes(word[0]), &end)) {
            wj_emit_trap(e, WJ_TRAP_MEMORY_OUT_OF_BOUNDS);
            end = UINT64_MAX;
        }
        wj_emit_check(e, of.memory, *address, end, of.is_wide);
    }
    /* The processor takes the 32 bits of an instruction for a signed number: an offset from 2 GiB on would reach below the
     * memory, to whatever the process has there. */
    if (of.is_wide) {
        if (of.offset > INT32_MAX) {
            *address = add_offset(e, *address, of.offset);
            row.constant = 0;
        }
        row.number += NARROW_ACCESS;
    } else if (of.offset > INT32_MAX) {
        row.number += FAR_ACCESS;
    } else {
        row.number += wj_is_narrow(e, *address) ? NARROW_ACCESS : 0;
    }
    wj_emit_row(e, &row);
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound) */
#endif
