/* The stencil tier on AArch64: slots, registers, and jumps. */
#ifdef __aarch64__
#include "stencil_aarch64.h"

bool wj_has_stencils(void)
{
    return true; /* they are made for the least that there is (wasmjit/stencils/machine.py) */
}

const uint8_t wj_register_numbers[FIRST_FLOAT + FLOAT_REGISTERS] = {
    [FIRST_INTEGER] = 20, 21, 22, 23, 24, 10, 11, 12, 13, [FIRST_FLOAT] = 1, 2, 3, 4, 5, 6, 7,
};

/* ---- instructions with something to be filled in ---- */

/* The field of a signed distance in instructions, and in what it counts. */
typedef struct {
    uint32_t mask, opcode;
    uint8_t bits, shift;
} distance_form;

static const distance_form DISTANCES[] = {
    {0x7c000000, 0x14000000, 26, 0}, /* b, bl */
    {0xff000010, 0x54000000, 19, 5}, /* b.cond */
    {0x7e000000, 0x34000000, 19, 5}, /* cbz, cbnz */
    {0x3b000000, 0x18000000, 19, 5}, /* ldr of what is near */
};
enum { IS_ADDRESS_MASK = 0x9f000000u, IS_ADDRESS = 0x10000000 }; /* adr, whose distance counts bytes */
enum { ADDRESS_BITS = 21 };

static bool fits(int64_t value, uint32_t bits)
{
    int64_t limit = INT64_C(1) << (bits - 1);
    return value >= -limit && value < limit;
}

/* What is too far fails: then the function is interpreted. */
void wj_write_distance(stencil_emitter *e, size_t hole, uint32_t distance)
{
    uint32_t instruction = instruction_at(e, hole);
    int64_t bytes = (int32_t)distance;
    if (instruction == 0) { /* of a table */
        wj_write_32(e, hole, distance);
        return;
    }
    if ((instruction & IS_ADDRESS_MASK) == IS_ADDRESS && fits(bytes, ADDRESS_BITS)) {
        uint32_t upper = (uint32_t)(bytes >> 2) & 0x7ffff;
        wj_write_32(e, hole, (instruction & 0x9f00001f) | ((uint32_t)bytes & 3) << 29 | upper << 5);
        return;
    }
    for (size_t i = 0; i < sizeof DISTANCES / sizeof DISTANCES[0]; i++) {
        const distance_form *form = &DISTANCES[i];
        if ((instruction & form->mask) == form->opcode && fits(bytes, form->bits + 2u) && bytes % INSTRUCTION_BYTES == 0) {
            uint32_t field = (1u << form->bits) - 1;
            wj_write_32(e, hole, (instruction & ~(field << form->shift)) | ((uint32_t)(bytes >> 2) & field) << form->shift);
            return;
        }
    }
    e->failed = true;
}

/* `adr` becomes what loads the number into its register. */
static void write_number(stencil_emitter *e, size_t place, uint64_t value)
{
    uint32_t instruction = instruction_at(e, place);
    uint32_t to = instruction & 31;
    if ((instruction & IS_ADDRESS_MASK) != IS_ADDRESS) {
        e->failed = true;
        return;
    }
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t others = ~(UINT64_C(0xffff) << 16 * i);
        uint32_t part = (uint32_t)(value >> 16 * i) & 0xffff;
        if ((value & others) == 0) {
            wj_write_32(e, place, 0xd2800000 | i << 21 | part << 5 | to); /* movz */
            return;
        }
        if ((~value & others) == 0) {
            wj_write_32(e, place, 0x92800000 | i << 21 | (part ^ 0xffff) << 5 | to); /* movn */
            return;
        }
    }
    wj_write_32(e, place, 0x58000000 | to); /* ldr of what is near */
    wj_add_jump(e, (uint32_t)place, CONSTANT_TARGET | wj_add_constant(e, value), (uint32_t)place);
}

enum { SCALED_MASK = 0x3b000000, SCALED = 0x39000000, SIZE_SHIFT = 30, OF_VECTOR = 0x04800000 };

/* The distance of a slot, in a load or store or in what makes it a number. */
static void write_slot(stencil_emitter *e, size_t place, uint64_t distance)
{
    uint32_t instruction = instruction_at(e, place);
    if ((instruction & SCALED_MASK) != SCALED) {
        write_number(e, place, distance);
        return;
    }
    uint32_t scale = instruction >> SIZE_SHIFT;
    uint64_t scaled = distance >> scale;
    if ((instruction & OF_VECTOR) == OF_VECTOR || scaled > MOST_SCALED || scaled << scale != distance) {
        e->failed = true;
        return;
    }
    wj_write_32(e, place, instruction | (uint32_t)scaled << 10);
}

void wj_fill_hole(stencil_emitter *e, size_t place, const wj_stencil_hole *hole, const uint32_t *slots, bool has_result,
                  uint64_t constant, uint32_t target)
{
    uint64_t addend = (uint64_t)(int64_t)hole->addend;
    switch (hole->what) {
    case WJ_HOLE_RESULT:
        write_slot(e, place, (uint64_t)slot_at(slots[0]) + addend);
        break;
    case WJ_HOLE_FIRST:
    case WJ_HOLE_SECOND:
    case WJ_HOLE_THIRD:
        write_slot(e, place, (uint64_t)slot_at(slots[has_result + hole->what - WJ_HOLE_FIRST]) + addend);
        break;
    case WJ_HOLE_NARROW:
        write_number(e, place, (uint32_t)(constant + addend));
        break;
    case WJ_HOLE_WIDE:
        write_number(e, place, (uint64_t)(int64_t)(int32_t)constant + addend);
        break;
    case WJ_HOLE_PLACE:
        write_number(e, place, e->context_offset + addend);
        break;
    case WJ_HOLE_FULL:
        write_number(e, place, constant + addend);
        break;
    case WJ_HOLE_TARGET:
        wj_add_jump(e, (uint32_t)place, target, (uint32_t)place);
        break;
    case WJ_HOLE_POOL: /* the pool stands behind all code: the target is set when the body is done */
        e->uses_pool = true;
        wj_add_jump(e, (uint32_t)place, POOL_TARGET | (uint32_t)hole->addend, (uint32_t)place);
        break;
    default:
        wj_add_jump(e, (uint32_t)place, STUB_TARGET | wj_add_stub(e, STUB_TRAP, hole->what - WJ_HOLE_TRAP), (uint32_t)place);
        break;
    }
}

enum { FLOAT_LOAD_MASK = 0xffc003e0u, LOAD_OF_32 = 0xbd400380u, LOAD_OF_64 = 0xfd400380u }; /* from x28 */

void wj_fill_with_constant(stencil_emitter *e, size_t place, uint64_t value)
{
    uint32_t instruction = instruction_at(e, place);
    uint32_t form = instruction & FLOAT_LOAD_MASK;
    if (form != LOAD_OF_32 && form != LOAD_OF_64) {
        e->failed = true;
        return;
    }
    wj_write_32(e, place, (form == LOAD_OF_32 ? 0x1c000000 : 0x5c000000) | (instruction & 31));
    wj_add_jump(e, (uint32_t)place, CONSTANT_TARGET | wj_add_constant(e, value), (uint32_t)place);
}

void wj_emit_float_constant(stencil_emitter *e, uint8_t where, uint64_t value)
{
    uint8_t number = wj_register_number(where);
    if (value == 0) {
        clear_float(e, number);
        return;
    }
    distant(e, 0x5c000000u | number, CONSTANT_TARGET | wj_add_constant(e, value));
}

/* ---- slots ---- */

void wj_store_place(stencil_emitter *e, uint8_t place, uint32_t slot, bool is_vector)
{
    uint8_t number = wj_register_number(place);
    reach(e, is_vector ? STORE_VECTOR : place >= FIRST_FLOAT ? STORE_FLOAT : STORE, number, FRAME, slot_at(slot));
}

void wj_load_place(stencil_emitter *e, uint8_t place, uint32_t slot, bool is_vector)
{
    uint8_t number = wj_register_number(place);
    reach(e, is_vector ? LOAD_VECTOR : place >= FIRST_FLOAT ? LOAD_FLOAT : LOAD, number, FRAME, slot_at(slot));
}

void wj_save_count(stencil_emitter *e)
{
    if (has_count(e)) {
        store(e, COUNT, RECORD, COUNT_AT);
    }
}

void wj_load_count(stencil_emitter *e)
{
    if (has_count(e)) {
        load(e, COUNT, RECORD, COUNT_AT);
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
    add_distance(e, TEMPORARY, FRAME, slot_at(from));
    add_distance(e, SECOND, FRAME, slot_at(to));
    load_number(e, THIRD, count);
    word(e, 0xf8408530); /* ldr x16, [x9], #8; upwards */
    word(e, 0xf80085d0); /* str x16, [x14], #8 */
    word(e, 0xf10005ef); /* subs x15, x15, #1 */
    word(e, 0x54ffffa1); /* b.ne, back to the first */
}

/* What an instruction of this processor would do better, it does not yet. */
uint32_t wj_emit_fused_select(stencil_emitter *e, const uint32_t *word, const uint32_t *select)
{
    (void)e, (void)word, (void)select;
    return 0;
}

bool wj_emit_mask(stencil_emitter *e, const uint32_t *word)
{
    (void)e, (void)word;
    return false;
}

bool wj_emit_division_by(stencil_emitter *e, const uint32_t *word)
{
    (void)e, (void)word;
    return false;
}

bool wj_emit_zero(stencil_emitter *e, uint8_t place)
{
    (void)e, (void)place;
    return false;
}

/* ---- jumps ---- */

void wj_emit_jump(stencil_emitter *e, uint32_t target)
{
    jump(e, target);
}

void wj_emit_trap(stencil_emitter *e, int trap)
{
    word(e, 0xd4200000 | (0x5500u | (uint32_t)trap) << 5); /* brk: wj_trap_instruction_code */
}

void wj_emit_table(stencil_emitter *e, uint32_t slot, uint32_t count, const uint32_t *targets)
{
    enum { INDEX = ADDRESS, TABLE = CALLEE };
    uint8_t where = e->registers[slot];
    if (where >= FIRST_FLOAT) {
        wj_store_register(e, slot);
        where = IN_FRAME;
    }
    if (where == IN_FRAME) {
        load_narrow(e, INDEX, FRAME, slot_at(slot));
    } else {
        move_narrow(e, INDEX, wj_register_number(where));
    }
    load_number(e, TABLE, count);
    three(e, 0x6b000000, ZERO, INDEX, TABLE);  /* cmp w16, w17 */
    three(e, 0x1a803000, INDEX, INDEX, TABLE); /* csel, lower: no branch, so no index beyond the table is ever used */
    word(e, 0x10000091);                       /* adr x17, the table: 4 instructions on */
    three(e, 0xb8a05800, INDEX, TABLE, INDEX); /* ldrsw x16, [x17, w16, uxtw #2] */
    three(e, 0x8b000000, TABLE, TABLE, INDEX);
    word(e, 0xd61f0220); /* br x17 */
    uint32_t table = (uint32_t)e->count;
    for (uint32_t i = 0; i <= count && !e->failed; i++) {
        word(e, 0);
        wj_add_jump(e, (uint32_t)e->count - 4, targets[i], table);
    }
}

#endif
