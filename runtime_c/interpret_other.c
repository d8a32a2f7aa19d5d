/* Calls, globals, references, constants and what else no row of the table computes, from the body of a function to the
 * interpreter's words. */
#include "interpret_translate.h"

/* The static analyser does not know that bodies are valid, and takes the operand stack and the frames to be empty.
 * NOLINTBEGIN(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */

/* After an instruction that does not go on to the next. */
static void end_of_path(translator *t)
{
    t->live = false;
    pop_to(t, t->frames[t->frame_count - 1].height);
    t->last = NO_WORD;
}

/* Or a tail call, whose operation `operation` is then. */
static void call(translator *t, uint32_t operation, const wj_signature *type, uint32_t callee, uint32_t table, uint32_t index,
                 const uint8_t *at)
{
    if (type == NULL) {
        t->failed = true;
        return;
    }
    uint32_t first = t->height - type->param_slots;
    bool is_indirect = operation == WJ_OP_CALL_INDIRECT || operation == WJ_OP_RETURN_CALL_INDIRECT;
    bool checks = is_indirect || operation == WJ_OP_CALL_REF || operation == WJ_OP_RETURN_CALL_REF;
    settle_from(t, first);
    if (checks) {
        charge(t); /* it tells the store itself what is left, once it has */
    } else {
        save_fuel(t);
    }
    site(t, at);
    begin(t, operation);
    emit(t, callee);
    if (is_indirect) {
        emit(t, table);
    }
    if (checks) {
        emit(t, index);
    }
    emit(t, own_slot(t, first));
    if (operation >= WJ_OP_RETURN_CALL && operation <= WJ_OP_RETURN_CALL_REF) {
        end_of_path(t);
        return;
    }
    load_fuel(t);
    pop_to(t, first);
    push_places(t, type->places + type->param_count, type->result_count);
}

static void global(translator *t, uint32_t index, bool sets)
{
    bool imported = index < t->of->plan.imported_global_count;
    uint8_t type = t->of->plan.global_types[index];
    bool narrow = type == WJ_TYPE_I32 || type == WJ_TYPE_F32;
    bool is_vector = type == WJ_TYPE_V128;
    uint32_t offset = imported ? t->of->plan.imported_globals_offset + 8 * index
                               : t->of->plan.globals_offset + WJ_GLOBAL_BYTES * (index - t->of->plan.imported_global_count);
    uint32_t operation = imported ? WJ_OP_IMPORTED_GLOBAL_GET_32 : WJ_OP_GLOBAL_GET_32;
    operation += (sets ? 2 : 0) + (narrow ? 0 : 1);
    if (is_vector) {
        operation = (imported ? WJ_OP_IMPORTED_GLOBAL_GET_128 : WJ_OP_GLOBAL_GET_128) + (sets ? 1 : 0);
    }
    if (sets) {
        uint32_t slot = pop_slot(t);
        begin(t, operation);
        emit(t, slot);
    } else {
        begin_result_of(t, operation, is_vector);
    }
    emit(t, offset);
}

static void select_operands(translator *t)
{
    uint32_t slots[3];
    pop_slots(t, 3, slots);
    bool is_vector = t->operands[t->height].is_vector;
    begin_result_of(t, is_vector ? WJ_OP_SELECT_128 : WJ_OP_SELECT, is_vector);
    emit(t, slots[0]);
    emit(t, slots[1]);
    emit(t, slots[2]);
}

static uint64_t read_bits(translator *t, size_t size_bytes)
{
    uint64_t bits = 0;
    memcpy(&bits, t->at, size_bytes); /* little-endian, as the format */
    t->at += size_bytes;
    return bits;
}

void wj_other(translator *t, uint8_t opcode, const uint8_t *at)
{
    const wj_interpreter_plan *of = &t->of->plan;
    uint32_t index;
    uint32_t table;
    switch (opcode) {
    case 0x00:
        save_fuel(t);
        site(t, at);
        begin(t, WJ_OP_UNREACHABLE);
        end_of_path(t);
        break;
    case 0x01: /* nop */
    case 0xa7: /* i32.wrap_i64 and the reinterpretations: the low bits stay as they are */
    case 0xbc:
    case 0xbd:
    case 0xbe:
    case 0xbf:
        break;
    case 0x0c:
        wj_branch(t, &t->frames[t->frame_count - 1 - read_index(t)]);
        end_of_path(t);
        break;
    case 0x0d:
        wj_branch_if(t, &t->frames[t->frame_count - 1 - read_index(t)]);
        break;
    case 0x0e:
        wj_branch_table(t);
        end_of_path(t);
        break;
    case 0x0f:
        wj_return(t);
        end_of_path(t);
        break;
    case 0x10:
        index = read_index(t);
        call(t, index < of->imported_function_count ? WJ_OP_CALL_IMPORT : WJ_OP_CALL, of->types[of->function_types[index]],
             index, 0, 0, at);
        break;
    case 0x11:
        index = read_index(t);
        table = read_index(t);
        call(t, WJ_OP_CALL_INDIRECT, of->types[index], index, table, wj_pop_index(t, table), at);
        break;
    case 0x12:
        index = read_index(t);
        call(t, index < of->imported_function_count ? WJ_OP_RETURN_CALL_IMPORT : WJ_OP_RETURN_CALL,
             of->types[of->function_types[index]], index, 0, 0, at);
        break;
    case 0x13:
        index = read_index(t);
        table = read_index(t);
        call(t, WJ_OP_RETURN_CALL_INDIRECT, of->types[index], index, table, wj_pop_index(t, table), at);
        break;
    case 0x14:
        index = read_index(t);
        call(t, WJ_OP_CALL_REF, of->types[index], index, 0, pop_slot(t), at);
        break;
    case 0x15:
        index = read_index(t);
        call(t, WJ_OP_RETURN_CALL_REF, of->types[index], index, 0, pop_slot(t), at);
        break;
    case 0xd5:
    case 0xd6:
        wj_branch_on_null(t, &t->frames[t->frame_count - 1 - read_index(t)], opcode == 0xd5);
        break;
    case 0x1a:
        (void)pop(t);
        t->last = NO_WORD;
        break;
    case 0x1c: /* select with types, of which there is one */
        (void)read_index(t);
        (void)read_value_type(t);
        select_operands(t);
        break;
    case 0x1b:
        select_operands(t);
        break;
    case 0x23:
        global(t, read_index(t), false);
        break;
    case 0x24:
        global(t, read_index(t), true);
        break;
    case 0x25:
    case 0x26:
    case 0x3f:
    case 0x40:
        wj_table_or_memory(t, opcode, at);
        break;
    case 0x42:
        push_constant(t, (uint64_t)read_signed(t));
        break;
    case 0x43:
        push_constant(t, read_bits(t, 4));
        break;
    case 0x44:
        push_constant(t, read_bits(t, 8));
        break;
    case 0xd0:
        (void)read_signed(t);
        push_constant(t, 0);
        break;
    case 0xd2:
        index = read_index(t);
        begin_result(t, index < of->imported_function_count ? WJ_OP_REF_FUNC_IMPORTED : WJ_OP_REF_FUNC);
        emit(t, of->func_ref_offsets[index]);
        break;
    case VECTOR_PREFIX:
        wj_vector_instruction(t, at);
        break;
    case ATOMIC_PREFIX:
        wj_atomic_instruction(t, at);
        break;
    default:
        t->failed = true;
        break;
    }
}
/* NOLINTEND(clang-analyzer-core.*, clang-analyzer-security.ArrayBound, clang-analyzer-unix.Malloc) */
