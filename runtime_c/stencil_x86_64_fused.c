/* The stencil tier on x86-64: what a few instructions of the processor do better than the stencils of its words. */
#ifdef __x86_64__
#include "stencil_x86_64.h"
#include "stencil_translate.h"

/* Of the second byte of a conditional move's opcode, in the order of the rows. */
static const uint8_t CONDITIONS[] = {0x44, 0x45, 0x4c, 0x42, 0x4f, 0x47, 0x4e, 0x46, 0x4d, 0x43};
enum { COMPARISONS = sizeof CONDITIONS };
_Static_assert(WJ_OP_I32_GE_U - WJ_OP_I32_EQ == COMPARISONS - 1, "EQ, NE, LT_S, LT_U, GT_S, GT_U, LE_S, LE_U, GE_S, GE_U");
_Static_assert(WJ_OP_I64_EQ - WJ_OP_I32_EQ == COMPARISONS && WJ_OP_I64_GE_U - WJ_OP_I64_EQ == COMPARISONS - 1, "as those");

typedef struct {
    uint8_t condition; /* of the move, if it holds */
    bool is_wide, has_immediate;
    int32_t immediate;
    uint32_t left, right; /* slots */
} comparison;

/* False: it compares no integers. */
static bool comparison_of(const uint32_t *word, comparison *made)
{
    if (*word == WJ_OP_I32_EQZ || *word == WJ_OP_I64_EQZ) {
        *made = (comparison){.condition = CONDITIONS[0], .is_wide = *word == WJ_OP_I64_EQZ, .has_immediate = true, .left = word[2]};
        return true;
    }
    bool has_immediate = *word >= WJ_OP_I32_EQ_IMMEDIATE;
    uint32_t number = *word - (has_immediate ? WJ_OP_I32_EQ_IMMEDIATE : WJ_OP_I32_EQ);
    if (number >= 2 * COMPARISONS) {
        return false;
    }
    *made = (comparison){.condition = CONDITIONS[number % COMPARISONS], .is_wide = number >= COMPARISONS, .left = word[2]};
    made->has_immediate = has_immediate;
    if (has_immediate) {
        made->immediate = (int32_t)word[3];
    } else {
        made->right = word[3];
    }
    return true;
}

static void compare_with_number(stencil_emitter *e, const comparison *of, uint8_t left)
{
    uint8_t number = wj_register_number(left);
    if (of->immediate == 0 && left != IN_FRAME) {
        register_form(e, 0, of->is_wide, 0x85, number, number); /* test */
        return;
    }
    bool is_short = of->immediate == (int8_t)of->immediate;
    uint32_t opcode = is_short ? 0x83 : 0x81;
    if (left != IN_FRAME) {
        register_form(e, 0, of->is_wide, opcode, 7, number);
    } else {
        memory_form(e, 0, of->is_wide, opcode, 7, RBP, slot_at(e, of->left));
    }
    bytes(e, &of->immediate, is_short ? 1 : sizeof of->immediate);
}

/* Changes rax. */
static void compare(stencil_emitter *e, const comparison *of, uint8_t left, uint8_t right)
{
    if (of->has_immediate) {
        compare_with_number(e, of, left);
        return;
    }
    uint8_t number = left == IN_FRAME ? RAX : wj_register_number(left);
    if (left == IN_FRAME && right != IN_FRAME) {
        memory_form(e, 0, of->is_wide, 0x39, wj_register_number(right), RBP, slot_at(e, of->left));
        return;
    }
    if (left == IN_FRAME) {
        memory_form(e, 0, of->is_wide, 0x8b, RAX, RBP, slot_at(e, of->left));
    }
    if (right == IN_FRAME) {
        memory_form(e, 0, of->is_wide, 0x3b, number, RBP, slot_at(e, of->right));
    } else {
        register_form(e, 0, of->is_wide, 0x39, wj_register_number(right), number);
    }
}

/* All 64 bits of a slot, if the condition holds. */
static void move_if(stencil_emitter *e, uint8_t condition, uint8_t to, uint8_t from, uint32_t slot)
{
    if (from == IN_FRAME) {
        memory_form(e, 0, true, 0x0f00 | condition, to, RBP, slot_at(e, slot));
    } else {
        register_form(e, 0, true, 0x0f00 | condition, to, wj_register_number(from));
    }
}

/* Where an integer goes that is made now: a register's place, or IN_FRAME, whence `finish` takes it from rax. */
static uint8_t place_for(stencil_emitter *e, uint32_t slot, uint8_t wanted)
{
    if (wj_is_pinned(e, slot)) {
        return e->registers[slot];
    }
    return wj_is_operand(e, slot) ? wj_place_operand(e, slot, false, wanted) : wj_place_copy(e, slot, false, wanted);
}

static void finish(stencil_emitter *e, uint32_t slot, uint8_t place)
{
    if (place == IN_FRAME) {
        store(e, RAX, RBP, slot_at(e, slot));
    } else if (!wj_is_operand(e, slot) && !wj_is_pinned(e, slot)) {
        wj_store_register(e, slot);
    }
}

static bool is_in_float_register(const stencil_emitter *e, uint32_t slot)
{
    return e->registers[slot] >= FIRST_FLOAT;
}

/* An operand was used. */
static void use(stencil_emitter *e, uint32_t slot)
{
    if (wj_is_operand(e, slot)) {
        wj_drop_operand(e, slot);
    }
}

/* A comparison that only the next word, a select of integers, looks at: one conditional move. */
uint32_t wj_emit_fused_select(stencil_emitter *e, const uint32_t *word, const uint32_t *select)
{
    comparison of;
    if (*select != WJ_OP_SELECT || select[4] != word[1] || !wj_is_operand(e, word[1]) || !comparison_of(word, &of)) {
        return 0;
    }
    const uint32_t slots[4] = {select[2], select[3], of.left, of.has_immediate ? of.left : of.right};
    bool has_floats = wj_is_pinned(e, select[1]) && is_in_float_register(e, select[1]);
    for (uint32_t i = 0; i < 4; i++) {
        has_floats = has_floats || is_in_float_register(e, slots[i]) ||
                     (e->registers[slots[i]] == IN_FRAME && !wj_is_operand(e, slots[i]) && e->is_float[slots[i]] != 0);
    }
    if (has_floats) {
        return 0;
    }
    for (uint32_t i = 0; i < 4; i++) {
        wj_load_constant(e, slots[i], false);
    }
    uint8_t places[4];
    for (uint32_t i = 0; i < 4; i++) {
        places[i] = e->registers[slots[i]];
    }
    bool narrow = wj_is_narrow(e, slots[0]) && wj_is_narrow(e, slots[1]);
    for (uint32_t i = 0; i < 4; i++) {
        use(e, slots[i]);
    }
    uint32_t rather = wj_is_operand(e, slots[1]) && places[1] != IN_FRAME ? 1 : 0;
    uint8_t place = place_for(e, select[1], wj_is_operand(e, slots[rather]) ? places[rather] : IN_FRAME);
    uint8_t number = place == IN_FRAME ? RAX : wj_register_number(place);
    compare(e, &of, places[2], places[3]);
    if (place != IN_FRAME && place == places[0]) {
        move_if(e, of.condition ^ 1, number, places[1], slots[1]); /* the conditions are in pairs */
    } else {
        if (places[1] == IN_FRAME) { /* no move changes flags */
            load(e, number, RBP, slot_at(e, slots[1]));
        } else if (places[1] != place) {
            move(e, number, wj_register_number(places[1]));
        }
        move_if(e, of.condition, number, places[0], slots[0]);
    }
    finish(e, select[1], place);
    wj_note_narrow(e, select[1], narrow);
    return WJ_WORDS_SELECT;
}

/* The low 8 or 16 bits of a value: an instruction that needs no other one before it. */
bool wj_emit_mask(stencil_emitter *e, const uint32_t *word)
{
    enum { BYTE_MASK = 0xff, HALF_MASK = 0xffff };
    bool is_mask = (*word == WJ_OP_I32_AND_IMMEDIATE || *word == WJ_OP_I64_AND_IMMEDIATE) &&
                   (word[3] == BYTE_MASK || word[3] == HALF_MASK);
    if (!is_mask || is_in_float_register(e, word[2]) || (wj_is_pinned(e, word[1]) && is_in_float_register(e, word[1]))) {
        return false;
    }
    wj_load_constant(e, word[2], false);
    uint8_t from = e->registers[word[2]];
    use(e, word[2]);
    uint8_t place = place_for(e, word[1], wj_is_operand(e, word[2]) ? from : IN_FRAME);
    uint8_t number = place == IN_FRAME ? RAX : wj_register_number(place);
    uint32_t opcode = word[3] == BYTE_MASK ? 0x0fb6 : 0x0fb7; /* movzx; of r8 and on, the lowest byte needs no prefix more */
    if (from == IN_FRAME) {
        memory_form(e, 0, false, opcode, number, RBP, slot_at(e, word[2]));
    } else {
        register_form(e, 0, false, opcode, number, wj_register_number(from));
    }
    finish(e, word[1], place);
    wj_note_narrow(e, word[1], true);
    return true;
}

/* ---- division by a constant: multiplication by its inverse ---- */

typedef enum { DIV_S, DIV_U, REM_S, REM_U } division; /* in the order of the rows */
_Static_assert(WJ_OP_I32_DIV_U - WJ_OP_I32_DIV_S == DIV_U && WJ_OP_I32_REM_S - WJ_OP_I32_DIV_S == REM_S &&
                   WJ_OP_I32_REM_U - WJ_OP_I32_DIV_S == REM_U && WJ_OP_I64_DIV_S - WJ_OP_I32_DIV_S == REM_U + 1,
               "as those");

/* mov $, %rax; mul %rcx; and the quotient is in rdx, shifted. */
static void multiply_high(stencil_emitter *e, uint64_t factor, uint8_t shift)
{
    BYTES(e, 0x48, 0xb8);
    bytes(e, &factor, sizeof factor);
    BYTES(e, 0x48, 0xf7, 0xe1);
    if (shift != 0) {
        BYTES(e, 0x48, 0xc1, 0xea, shift); /* shr $, %rdx */
    }
}

/* The factor whose product with any number of 64 bits has the quotient above its low 64 + `shift` bits: it is above
 * 2^(64 + shift) / divisor by less than 2^shift / divisor. False: it would have more than 64 bits. */
static bool wide_inverse(uint64_t divisor, uint64_t *factor, uint8_t *shift)
{
    for (*shift = 0; *shift < 32; ++*shift) {
        unsigned __int128 power = (unsigned __int128)1 << (64 + *shift);
        unsigned __int128 found = power / divisor + 1;
        if (found > UINT64_MAX) {
            return false;
        }
        if (found * divisor - power <= (uint64_t)1 << *shift) {
            *factor = (uint64_t)found;
            return true;
        }
    }
    return false;
}

/* What is in rcx, of 32 bits with its sign in all 64, by a divisor of at least 2; the quotient is in eax. The factor is above
 * 2^(31 + log) / divisor by no more than 2^log / divisor, where 2^log is at least the divisor: so that product, rounded down, is
 * right for what is not negative, and 1 too low for what is. It has less than 63 bits and a sign. */
static void divide_signed(stencil_emitter *e, uint32_t divisor)
{
    uint8_t log = (uint8_t)(32 - __builtin_clz(divisor - 1));
    uint32_t factor = (uint32_t)(((uint64_t)1 << (31 + log)) / divisor + 1);
    load_number(e, RAX, factor);
    register_form(e, 0, true, 0x0faf, RAX, RCX);          /* imul */
    BYTES(e, 0x48, 0xc1, 0xf8, (uint8_t)(31 + log));      /* sar $, %rax */
    register_form(e, 0, false, 0x89, RCX, RDX);           /* mov */
    BYTES(e, 0xc1, 0xea, 31);                             /* shr $31, %edx */
    register_form(e, 0, false, 0x01, RDX, RAX);           /* add */
}

/* Takes so many times the quotient, in a register, away from what is in rcx. */
static void take_away(stencil_emitter *e, bool is_wide, uint8_t quotient, int32_t divisor)
{
    register_form(e, 0, is_wide, 0x69, quotient, quotient); /* imul */
    word(e, (uint32_t)divisor);
    register_form(e, 0, is_wide, 0x29, quotient, RCX); /* sub */
}

bool wj_emit_division_by(stencil_emitter *e, const uint32_t *word)
{
    uint32_t number = *word - WJ_OP_I32_DIV_S_IMMEDIATE;
    bool is_wide = number > REM_U;
    division kind = (division)(number % (REM_U + 1));
    bool is_signed = kind == DIV_S || kind == REM_S;
    int32_t divisor = (int32_t)word[3];
    uint64_t factor = 0;
    uint8_t shift = 0;
    if (number > 2 * REM_U + 1 || divisor == INT32_MIN || (divisor >= -1 && divisor <= 1) || (is_wide && (is_signed || divisor < 0)) ||
        (is_wide && !wide_inverse((uint64_t)divisor, &factor, &shift)) || is_in_float_register(e, word[2]) ||
        (wj_is_pinned(e, word[1]) && is_in_float_register(e, word[1]))) {
        return false;
    }
    wj_load_constant(e, word[2], false);
    uint8_t from = e->registers[word[2]];
    uint32_t opcode = is_signed ? 0x63 : 0x8b; /* movslq, mov */
    if (from == IN_FRAME) {
        memory_form(e, 0, is_wide || is_signed, opcode, RCX, RBP, slot_at(e, word[2]));
    } else {
        register_form(e, 0, is_wide || is_signed, opcode, RCX, wj_register_number(from));
    }
    use(e, word[2]);
    uint8_t place = place_for(e, word[1], wj_is_operand(e, word[2]) ? from : IN_FRAME);
    uint8_t quotient = RDX;
    if (is_signed) {
        divide_signed(e, divisor < 0 ? (uint32_t)-divisor : (uint32_t)divisor);
        quotient = RAX;
        if (divisor < 0) {
            BYTES(e, 0xf7, 0xd8); /* neg %eax */
        }
    } else if (is_wide) {
        multiply_high(e, factor, shift);
    } else { /* above 2^64 / divisor by at most 1, so that less than 1 / divisor is added to the quotient of 32 bits */
        multiply_high(e, UINT64_MAX / (uint32_t)divisor + 1, 0);
    }
    bool is_rest = kind == REM_S || kind == REM_U;
    if (is_rest) {
        take_away(e, is_wide, quotient, divisor);
    }
    uint8_t to = place == IN_FRAME ? RAX : wj_register_number(place);
    register_form(e, 0, is_wide, 0x89, is_rest ? RCX : quotient, to); /* mov; what is above 32 bits becomes zeros */
    finish(e, word[1], place);
    wj_note_narrow(e, word[1], !is_wide);
    return true;
}

bool wj_emit_zero(stencil_emitter *e, uint8_t place)
{
    uint8_t number = wj_register_number(place);
    register_form(e, 0, false, 0x31, number, number); /* xor: no flags are looked at from one word to another */
    return true;
}
#endif
