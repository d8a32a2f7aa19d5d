/* The stencil tier on x86-64: slots, registers, and jumps. */
#include "stencil_emit.h"

#ifdef __x86_64__
#include "stencil_x86_64.h"

bool wj_has_stencils(void)
{
    /* x86-64-v2, which the stencils are made for (wasmjit/stencils/header.py) */
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("ssse3");
}

#define REGISTERS(of)                                                                                               \
    {                                                                                                               \
        [FIRST_INTEGER] = of(R12), of(R13), of(R14), of(R15), of(R8), of(R9), of(R11), of(R10),                     \
        [FIRST_FLOAT] = of(1), of(2), of(3), of(4), of(5), of(6), of(7), of(9), of(10), of(13), of(14),             \
    }
#define ALL_OF(number) (number)
#define LOW_OF(number) ((number) & 7)
#define FOURTH_OF(number) ((number) >> 3)
const uint8_t wj_register_numbers[FIRST_FLOAT + FLOAT_REGISTERS] = REGISTERS(ALL_OF);
const uint8_t wj_register_bits[2][FIRST_FLOAT + FLOAT_REGISTERS] = {REGISTERS(LOW_OF), REGISTERS(FOURTH_OF)};

/* ---- slots ---- */

void wj_write_distance(stencil_emitter *e, size_t hole, uint32_t distance)
{
    wj_write_32(e, hole, distance);
}

void wj_fill_hole(stencil_emitter *e, size_t place, const wj_stencil_hole *hole, const uint32_t *slots, bool has_result,
                  uint64_t constant, uint32_t target)
{
    uint32_t addend = (uint32_t)(int32_t)hole->addend;
    switch (hole->what) {
    case WJ_HOLE_RESULT:
        wj_write_32(e, place, (uint32_t)slot_at(e, slots[0]) + addend);
        break;
    case WJ_HOLE_FIRST:
    case WJ_HOLE_SECOND:
    case WJ_HOLE_THIRD:
        wj_write_32(e, place, (uint32_t)slot_at(e, slots[has_result + hole->what - WJ_HOLE_FIRST]) + addend);
        break;
    case WJ_HOLE_NARROW:
    case WJ_HOLE_WIDE:
        wj_write_32(e, place, (uint32_t)constant + addend);
        break;
    case WJ_HOLE_PLACE:
        wj_write_32(e, place, e->context_offset + addend);
        break;
    case WJ_HOLE_BYTE:
        e->code[place] = (uint8_t)(constant + addend);
        break;
    case WJ_HOLE_FULL:
        constant += (uint64_t)(int64_t)hole->addend;
        memcpy(e->code + place, &constant, sizeof constant);
        break;
    case WJ_HOLE_TARGET:
        wj_add_jump(e, (uint32_t)place, target, (uint32_t)place + 4);
        break;
    case WJ_HOLE_POOL: /* the pool stands behind all code: the target is set when the body is done */
        e->uses_pool = true;
        wj_add_jump(e, (uint32_t)place, POOL_TARGET | (uint32_t)hole->addend, (uint32_t)place + 4);
        break;
    default:
        wj_add_jump(e, (uint32_t)place, STUB_TARGET | wj_add_stub(e, STUB_TRAP, hole->what - WJ_HOLE_TRAP), (uint32_t)place + 4);
        break;
    }
}

enum { MODES = 0xc0, REGISTER_OR_MEMORY = 0x07, OF_RBP = 0x85 }; /* of the byte before a slot's distance */

void wj_fill_with_constant(stencil_emitter *e, size_t place, uint64_t value)
{
    uint8_t *form = &e->code[place - 1];
    if ((*form & (MODES | REGISTER_OR_MEMORY)) != OF_RBP) {
        e->failed = true;
        return;
    }
    *form = (uint8_t)(*form & ~MODES); /* distance(%rbp) becomes distance(%rip) */
    wj_add_jump(e, (uint32_t)place, CONSTANT_TARGET | wj_add_constant(e, value), (uint32_t)place + 4);
}

void wj_emit_float_constant(stencil_emitter *e, uint8_t where, uint64_t value)
{
    uint8_t number = wj_register_number(where);
    if (value == 0) {
        register_form(e, 0, false, 0x0f57, number, number); /* xorps */
        return;
    }
    byte(e, 0xf2); /* movsd constant(%rip) */
    if (number >= 8) {
        byte(e, 0x44);
    }
    BYTES(e, 0x0f, 0x10, (uint8_t)(OF_RBP & ~MODES) | (uint8_t)((number & 7) << 3));
    word(e, 0);
    wj_add_jump(e, (uint32_t)e->count - 4, CONSTANT_TARGET | wj_add_constant(e, value), (uint32_t)e->count);
}

void wj_store_place(stencil_emitter *e, uint8_t place, uint32_t slot, bool is_vector)
{
    uint8_t number = wj_register_number(place);
    if (is_vector) {
        store_vector(e, number, RBP, slot_at(e, slot));
    } else if (place >= FIRST_FLOAT) {
        store_float(e, number, RBP, slot_at(e, slot));
    } else {
        store(e, number, RBP, slot_at(e, slot));
    }
}

void wj_load_place(stencil_emitter *e, uint8_t place, uint32_t slot, bool is_vector)
{
    uint8_t number = wj_register_number(place);
    if (is_vector) {
        load_vector(e, number, RBP, slot_at(e, slot));
    } else if (place >= FIRST_FLOAT) {
        load_float(e, number, RBP, slot_at(e, slot));
    } else {
        load(e, number, RBP, slot_at(e, slot));
    }
}

void wj_save_count(stencil_emitter *e)
{
    if (has_count(e) && !e->counts_in_frame) {
        store(e, RDI, RBP, count_at(e));
    }
}

void wj_load_count(stencil_emitter *e)
{
    if (has_count(e) && !e->counts_in_frame) {
        load(e, RDI, RBP, count_at(e));
    }
}

void wj_use_memory(stencil_emitter *e, uint32_t memory)
{
    if (e->base_of != memory) {
        load_base_of(e, memory);
    }
}

void wj_move_slots(stencil_emitter *e, uint32_t to, uint32_t from, uint32_t count)
{
    wj_save_count(e);
    memory_form(e, 0, true, 0x8d, RSI, RBP, slot_at(e, from));
    memory_form(e, 0, true, 0x8d, RDI, RBP, slot_at(e, to));
    load_number(e, RCX, count);
    BYTES(e, 0xf3, 0x48, 0xa5); /* rep movsq, upwards */
    load_base(e);
    wj_load_count(e);
}

/* ---- jumps ---- */

void wj_emit_jump(stencil_emitter *e, uint32_t target)
{
    jump(e, target);
}

void wj_emit_trap(stencil_emitter *e, int trap)
{
    BYTES(e, 0x67, 0x0f, 0xb9, 0x40, (uint8_t)trap); /* ud1l trap(%eax), %eax: wj_trap_instruction_code */
}

void wj_emit_table(stencil_emitter *e, uint32_t slot, uint32_t count, const uint32_t *targets)
{
    uint8_t where = e->registers[slot];
    if (where >= FIRST_FLOAT) {
        wj_store_register(e, slot);
        where = IN_FRAME;
    }
    if (where == IN_FRAME) {
        load_narrow(e, RAX, RBP, slot_at(e, slot));
    } else {
        register_form(e, 0, false, 0x89, wj_register_number(where), RAX);
    }
    load_number(e, RCX, count);
    BYTES(e, 0x39, 0xc8,             /* cmp %ecx, %eax */
          0x0f, 0x43, 0xc1,          /* cmovae %ecx, %eax: no branch, so no index beyond the table is ever used */
          0x48, 0x8d, 0x0d);         /* lea table(%rip), %rcx */
    word(e, 9);                      /* behind what follows */
    BYTES(e, 0x48, 0x63, 0x04, 0x81, /* movslq (%rcx,%rax,4), %rax */
          0x48, 0x01, 0xc8,          /* add %rcx, %rax */
          0xff, 0xe0);               /* jmp *%rax */
    uint32_t table = (uint32_t)e->count;
    for (uint32_t i = 0; i <= count && !e->failed; i++) {
        word(e, 0);
        wj_add_jump(e, (uint32_t)e->count - 4, targets[i], table);
    }
}

#elif !defined(WJ_HAS_STENCILS)

bool wj_has_stencils(void)
{
    return false;
}
#endif
