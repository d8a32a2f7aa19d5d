/* Code in the making: what of it is not made of stencils depends on the processor (stencil_x86_64.h). */
#ifndef WJ_STENCIL_EMIT_H
#define WJ_STENCIL_EMIT_H

#include "scratch.h"
#include "stencil.h"
#include "wj_tiering.h"

#include <string.h>

enum { NO_SLOT = UINT32_MAX };
enum { MOST_SLOTS = 1 << 20 };
/* Where a slot is: in the frame, or a register. Those that calls leave alone come first. NOWHERE: an operand that is a
 * constant (stencil_emitter.constants), and is put somewhere when it is used. */
enum {
    IN_FRAME = 0,
    FIRST_INTEGER = 1,
#ifdef __aarch64__
    INTEGER_REGISTERS = 9,
    SAVED_REGISTERS = 5,
    FLOAT_REGISTERS = 7,
    COUNTS_IN_FRAME = 0,
    ALIASES_ARGUMENTS = 0,
    FILLER = 0, /* no instruction: what is between code and constants */
#else
    INTEGER_REGISTERS = 8,
    SAVED_REGISTERS = 4,
    FLOAT_REGISTERS = 11,
    COUNTS_IN_FRAME = 1,   /* iterations, where a register would be stored and loaded around calls in all loops */
    ALIASES_ARGUMENTS = 1, /* locals are passed from where they are, not copied to an operand first */
    FILLER = 0xcc,
#endif
    STACK_ALIGNMENT_BYTES = 16,
    NOWHERE = 15,
    FIRST_FLOAT = 16,
    STENCIL_REGISTERS = INTEGER_REGISTERS + FLOAT_REGISTERS,
};
enum { WJ_UPPER_HALF = 2 };
enum { MOST_PLACES = 4 }; /* of a row's result and operands */
enum { STENCIL_CANDIDATES = 12, MOST_CONSTANTS = 8 };
enum { MOST_ALIASES = 8 };
enum { MOST_CHECKS = 4, COUNTED_MEMORIES = 4 };
enum { FIRST_USES_BYTES = 2048, FIRST_REGIONS = 4 };
enum { TARGET_MARK = 0x8000 }; /* of a word that something jumps to */
/* Targets of jumps are words, or stubs. */
#define STUB_TARGET UINT32_C(0x80000000)
#define POOL_TARGET UINT32_C(0x40000000)
#define CONSTANT_TARGET UINT32_C(0x20000000)

/* A word's operation, as far as it is one of a row of the table, and its operands in slots: the result first, if it has
 * one. */
typedef struct {
    const uint32_t *slots;
    uint32_t stencil; /* and 1; 0: none */
    uint32_t constant; /* 32 bits, as in the words */
    uint32_t target;
    uint32_t length; /* words */
    uint8_t slot_count;
    uint8_t loose;
    uint16_t flags;
} stencil_instruction;

/* A slot that a region uses, and how much. */
typedef struct {
    uint32_t slot, weight;
    bool is_written;
} stencil_candidate;

/* A loop, without those in it; or what is in none. See stencil_registers.c. */
typedef struct {
    uint32_t parent;
    uint32_t end;  /* its last word */
    uint32_t uses; /* the first in the allocator's list */
    uint32_t calls;
    bool has_inner_calls;
    stencil_candidate integers[STENCIL_CANDIDATES], floats[STENCIL_CANDIDATES];
    uint32_t slots[STENCIL_REGISTERS]; /* what is in each register, of integers first; NO_SLOT: operands */
    uint32_t occupied;                 /* a bit for each that has one */
    uint32_t dirty;                    /* a bit for each that may differ from what is in the frame */
} stencil_region;

/* What stands behind the body, and is seldom reached. */
typedef struct {
    enum { STUB_TRAP, STUB_HOT, STUB_TYPE, STUB_EDGE, STUB_EXHAUSTED, STUB_OUT_OF_FUEL, STUB_EPOCH } kind;
    uint32_t number;        /* of the trap; the offset of the loop; the type; the word where an edge leads */
    uint32_t region;
    uint32_t module_offset;
    uint32_t back;          /* where it goes on */
    uint32_t place;         /* where it is, once it is made */
} stencil_stub;

/* A distance of 32 bits that is written when the place of its target is known. */
typedef struct {
    uint32_t hole;
    /* a word, or STUB_TARGET and a stub, or POOL_TARGET and an offset in the stencils' constants, or CONSTANT_TARGET and
     * the number of one of the function's */
    uint32_t target;
    uint32_t base;   /* the distance counts from here */
} stencil_jump;

typedef struct {
    const wj_interpreter *of;
    const wj_interpreted *function;
    const wj_body_words *body;             /* its words */
    const wj_signature *signature;
    uint32_t local_count;                  /* slots of locals: the others are operands */
    bool failed, is_interrupted, is_refused; /* the last: the system gives no memory for the code */
    bool uses_memory, has_accesses, has_loops, uses_pool, calls_through_tables, has_scratch_slot, has_vectors;
    bool is_begun;                         /* a region has been set */
    bool counts_in_frame;                  /* iterations: in all loops something is called */
    uint32_t saved_bytes;                  /* of the frame, above the slots */
    uint32_t scratch_slot;
    uint32_t home_memory;                  /* the one that is used most */
    uint32_t base_of;                      /* the memory whose base is in its register */
    uint64_t memory_uses[COUNTED_MEMORIES]; /* of the first memories, by how deep in loops they are */
    uint32_t context_offset;               /* for WJ_HOLE_PLACE */
    struct {
        uint32_t memory, address; /* a local that was compared since it was last written: */
        uint64_t end;             /* so much behind it is in the memory, */
    } checks[MOST_CHECKS];
    uint32_t check_count, next_check;
    uint8_t *registers;                    /* by slot */
    uint8_t *is_float;                     /* by local */
    uint8_t *is_narrow;                    /* by local: see stencil_narrow.c */
    uint8_t *is_vector;                    /* by slot of a local: the first of a v128, or its upper half (WJ_UPPER_HALF) */
    uint32_t vectors;                      /* a bit for each register of an operand */
    uint32_t narrow;                       /* a bit for each register of an operand */
    uint16_t *marks;                       /* by word: its region, and TARGET_MARK */
    stencil_region *regions;
    uint32_t region_count, region_room;
    uint32_t region;                       /* of the code now */
    uint32_t saved_mask;                   /* of the registers that calls leave alone: those that are used */
    int32_t slots_at;                      /* where the first slot is, from the register of the frame */
    uint64_t random;
    wj_scratch scratch;                    /* the arrays that are pointed to, as far as they do not grow */
    uint32_t *ends;                        /* by word that is jumped back to: the last from where, or 0 */
    uint32_t *latest;                      /* by slot, for stencil_registers.c */
    uint32_t *narrow_blocks;               /* by slot, for stencil_narrow.c */
    uint32_t held[STENCIL_REGISTERS];      /* what is in each register now, as in stencil_region */
    uint32_t occupied;                     /* a bit for each that something is in */
    uint32_t stored;                       /* a bit for each that is an operand, and in the frame too */
    uint32_t copies;                       /* a bit for each that is a copy of a local which is in the frame */
    uint32_t next_victim;                  /* of copies, when a register is needed */
    struct {
        uint32_t slot;
        uint64_t value;
    } constants[MOST_CONSTANTS];           /* operands that are NOWHERE */
    uint32_t constant_count;
    struct {
        uint32_t slot, local;
    } aliases[MOST_ALIASES];               /* operands that the next call takes, which are what a local is */
    uint32_t alias_count;
    uint32_t next_word;                    /* the one behind that which is emitted */
    uint32_t *places;                      /* of words, in the code */
    uint32_t module_offset;                /* of the instruction that is translated, if it may trap or call */
    uint32_t loop_offset;                  /* of the loop that begins, where code counts fuel */
    uint32_t outgoing_bytes;               /* of the stack, for arguments and results of calls */
    uint32_t pool;                         /* the place of the stencils' constants, once they are there */
    uint32_t own_pool;                     /* and of the function's */
    uint64_t *pooled;                      /* those */
    size_t pooled_count, pooled_room;
    uint32_t frame_hole, check_hole;       /* where the size of the frame is written in the end */
    uint32_t frame_bytes;                  /* it, then */
    uint8_t *code;
    size_t count, room;
    uint8_t lost[32];                      /* in place of an instruction for which there is no memory */
    uint8_t *sites;                        /* as in wj_native */
    size_t sites_bytes, sites_room;
    uint32_t site_place, site_offset;      /* the last */
    stencil_jump *jumps;
    size_t jump_count, jump_room;
    stencil_stub *stubs;
    size_t stub_count, stub_room;
} stencil_emitter;

/* A row to be emitted. `slots`: of the result, if there is one, and the operands, which are `used`, and needed no more. */
typedef struct {
    uint32_t number; /* of the operation */
    const uint32_t *slots;
    uint64_t constant;
    uint32_t target;
    bool uses;
    uint32_t pooled;    /* a bit for each operand that is a constant behind the code, of these values */
    uint64_t values[4];
} stencil_row;

typedef struct {
    enum { CALLEE_OWN, CALLEE_IMPORT, CALLEE_REFERENCE } kind; /* the last: a func-ref in the spare register */
    uint32_t index;
} wj_callee;

typedef struct {
    enum { ARGUMENT_NUMBER, ARGUMENT_NARROW_SLOT, ARGUMENT_WIDE_SLOT } kind;
    uint32_t value;
} wj_argument;

/* ---- stencil_emit.c ---- */

WJ_INTERNAL void wj_begin_emitter(stencil_emitter *e);
WJ_INTERNAL bool wj_make_room(stencil_emitter *e, size_t size_bytes);

/* Has room for so much more code; false: the translation failed. */
static inline bool wj_reserve(stencil_emitter *e, size_t size_bytes)
{
    return LIKELY(e->count + size_bytes <= e->room) ? !e->failed : wj_make_room(e, size_bytes);
}

WJ_INTERNAL void wj_note_site(stencil_emitter *e, uint32_t place, uint32_t module_offset);
WJ_INTERNAL void wj_add_jump(stencil_emitter *e, uint32_t hole, uint32_t target, uint32_t base);
/* The number of a new stub. */
WJ_INTERNAL uint32_t wj_add_stub(stencil_emitter *e, int kind, uint32_t number);
/* A stub goes on where the code is now. */
WJ_INTERNAL void wj_return_here(stencil_emitter *e, uint32_t stub);
/* Writes the distances of all jumps. */
WJ_INTERNAL void wj_write_jumps(stencil_emitter *e);
/* The number of a constant that stands behind the code; of two that stand one behind the other. */
WJ_INTERNAL uint32_t wj_add_constant(stencil_emitter *e, uint64_t value);
WJ_INTERNAL uint32_t wj_add_wide_constant(stencil_emitter *e, uint64_t lower, uint64_t upper);
WJ_INTERNAL void wj_write_32(stencil_emitter *e, size_t place, uint32_t value);

static inline bool wj_counts_fuel(const stencil_emitter *e)
{
    return e->of->plan.counts_fuel != 0;
}

/* ---- of the processor ---- */

/* By place: the processor's numbers. */
extern WJ_INTERNAL const uint8_t wj_register_numbers[FIRST_FLOAT + FLOAT_REGISTERS];
#ifndef __aarch64__
extern WJ_INTERNAL const uint8_t wj_register_bits[2][FIRST_FLOAT + FLOAT_REGISTERS]; /* the three low ones, and the fourth */
#endif

static inline uint8_t wj_register_number(uint8_t where)
{
    return wj_register_numbers[where];
}

/* Of the slots in the frame. */
static inline uint32_t slots_bytes(const stencil_emitter *e)
{
    return 8 * (e->function->slot_count + e->has_scratch_slot);
}

/* What of the number of a place's register an instruction has in a field: all of it, or the three low bits, or the fourth. */
static inline uint8_t wj_field_bits(const wj_stencil_field *field, const uint8_t *places)
{
    uint8_t place = places[field->operand % WJ_STENCIL_HIGH];
#ifdef __aarch64__
    return wj_register_numbers[place];
#else
    return wj_register_bits[field->operand / WJ_STENCIL_HIGH][place];
#endif
}

/* Writes bits of a register's number into their field of a stencil's code. */
static inline void wj_fill_field(uint8_t *code, const wj_stencil_field *field, uint8_t bits)
{
#ifdef __aarch64__
    uint32_t instruction;
    memcpy(&instruction, code + field->offset, sizeof instruction);
    instruction |= (uint32_t)bits << field->shift;
    memcpy(code + field->offset, &instruction, sizeof instruction);
#else
    code[field->offset] = (uint8_t)(code[field->offset] | bits << field->shift);
#endif
}

#ifdef __x86_64__
/* Fills in a hole of a slot or a constant of 32 bits. False: it is none. Arguments as below. */
static inline bool wj_fill_simple_hole(const stencil_emitter *e, uint8_t *to, const wj_stencil_hole *hole, const uint32_t *slots,
                                       bool has_result, uint64_t constant)
{
    uint32_t value;
    if (hole->what <= WJ_HOLE_THIRD) {
        value = (uint32_t)e->slots_at + 8 * slots[hole->what - (hole->what != WJ_HOLE_RESULT && !has_result)];
    } else if (hole->what <= WJ_HOLE_WIDE) {
        value = (uint32_t)constant;
    } else {
        return false;
    }
    value += (uint32_t)(int32_t)hole->addend;
    memcpy(to, &value, sizeof value);
    return true;
}
#else
static inline bool wj_fill_simple_hole(const stencil_emitter *e, uint8_t *to, const wj_stencil_hole *hole, const uint32_t *slots,
                                       bool has_result, uint64_t constant)
{
    (void)e, (void)to, (void)hole, (void)slots, (void)has_result, (void)constant;
    return false;
}
#endif
/* Writes the distance of a jump, or of what an instruction reads, whose hole is at a place. */
WJ_INTERNAL void wj_write_distance(stencil_emitter *e, size_t hole, uint32_t distance);
/* Fills in a hole at `place`. `slots`: as the stencil's operands; the result first, if it `has_result`. */
WJ_INTERNAL void wj_fill_hole(stencil_emitter *e, size_t place, const wj_stencil_hole *hole, const uint32_t *slots,
                              bool has_result, uint64_t constant, uint32_t target);
/* Has an instruction that reads a slot at a hole read a constant instead. */
WJ_INTERNAL void wj_fill_with_constant(stencil_emitter *e, size_t place, uint64_t value);
/* What the processor does better than stencils. A comparison and the next word, a select that nothing else leads to: how many words
 * that has; 0: there is no instruction for both. The low bits of a value; a division by a constant;
 * 0 in a register of integers: false, if there is none. */
WJ_INTERNAL uint32_t wj_emit_fused_select(stencil_emitter *e, const uint32_t *word, const uint32_t *select);
WJ_INTERNAL bool wj_emit_mask(stencil_emitter *e, const uint32_t *word);
WJ_INTERNAL bool wj_emit_division_by(stencil_emitter *e, const uint32_t *word);
WJ_INTERNAL bool wj_emit_zero(stencil_emitter *e, uint8_t place);
/* Loads a constant into a register of floats. */
WJ_INTERNAL void wj_emit_float_constant(stencil_emitter *e, uint8_t where, uint64_t value);
/* Between the register of a place and the frame, where the slot is. */
WJ_INTERNAL void wj_store_place(stencil_emitter *e, uint8_t place, uint32_t slot, bool is_vector);
WJ_INTERNAL void wj_load_place(stencil_emitter *e, uint8_t place, uint32_t slot, bool is_vector);
/* From the slots of operands to that of the result, the first, all of which are in the frame then; with a number behind
 * them. */
WJ_INTERNAL void wj_emit_routine(stencil_emitter *e, const void *function, const uint32_t *slots, uint32_t count, uint32_t number);
/* Loads a constant of four words into a register of floats, or the slot of that is IN_FRAME. */
WJ_INTERNAL void wj_emit_vector_constant(stencil_emitter *e, uint8_t where, uint32_t slot, const uint32_t *words);
/* The bytes of two vectors, of which one is IN_FRAME or in a register, into the spare vector; and that to where it belongs. */
WJ_INTERNAL void wj_emit_shuffle(stencil_emitter *e, const uint32_t *slots, const uint32_t *mask);
WJ_INTERNAL void wj_take_shuffled(stencil_emitter *e, uint8_t where, uint32_t slot);
WJ_INTERNAL void wj_move_slots(stencil_emitter *e, uint32_t to, uint32_t from, uint32_t count);
/* Between the spare register and the frame: what is left of the fuel, or else iterations until a loop is hot. */
WJ_INTERNAL void wj_save_count(stencil_emitter *e);
WJ_INTERNAL void wj_load_count(stencil_emitter *e);
/* Has the register of a base hold that of a memory. */
WJ_INTERNAL void wj_use_memory(stencil_emitter *e, uint32_t memory);
WJ_INTERNAL void wj_count_iteration(stencil_emitter *e, uint32_t loop_offset);
WJ_INTERNAL void wj_emit_call(stencil_emitter *e, const wj_callee *callee, const wj_signature *type, uint32_t first);
WJ_INTERNAL void wj_emit_tail_call(stencil_emitter *e, const wj_callee *callee, const wj_signature *type, uint32_t first);
/* The result, if it has one, goes to the slot `result`, its low half unless it `is_wide`. */
WJ_INTERNAL void wj_emit_builtin(stencil_emitter *e, const void *function, uint32_t result, bool is_wide,
                                 const wj_argument *arguments, size_t count);
/* An operation that a function of the runtime does, and no stencil. (stencil_builtins.c) */
WJ_INTERNAL void wj_emit_runtime_call(stencil_emitter *e, const uint32_t *word);
WJ_INTERNAL void wj_emit_trap(stencil_emitter *e, int trap);
/* An operation of fuel or epochs (METERS). */
WJ_INTERNAL void wj_emit_metering(stencil_emitter *e, const uint32_t *word);
WJ_INTERNAL void wj_emit_jump(stencil_emitter *e, uint32_t target);
WJ_INTERNAL void wj_emit_table(stencil_emitter *e, uint32_t slot, uint32_t count, const uint32_t *targets);
WJ_INTERNAL void wj_emit_return(stencil_emitter *e, uint32_t slot);
WJ_INTERNAL void wj_emit_prologue(stencil_emitter *e);
/* What stands behind the body: a function, or a loop, that began often; a type that may match; no room for the frame; nothing
 * is left of the fuel; the epoch's deadline is reached. */
WJ_INTERNAL void wj_emit_hot(stencil_emitter *e, const stencil_stub *stub, bool is_loop);
WJ_INTERNAL void wj_emit_type(stencil_emitter *e, const stencil_stub *stub);
WJ_INTERNAL void wj_emit_exhausted(stencil_emitter *e);
WJ_INTERNAL void wj_emit_out_of_fuel(stencil_emitter *e);
WJ_INTERNAL void wj_emit_epoch(stencil_emitter *e, const stencil_stub *stub);
/* Tells the prologue how large the frame is. */
WJ_INTERNAL void wj_write_frame(stencil_emitter *e);

/* ---- stencil_registers.c ---- */

/* Finds the regions, and what is in which register in each. False: no memory, or something that there are no stencils of. */
WJ_INTERNAL bool wj_choose_registers(stencil_emitter *e);
/* Finds the locals that are always narrow. (stencil_narrow.c) */
WJ_INTERNAL void wj_find_narrow(stencil_emitter *e);
/* For tests: 31 bits of a sequence that is the same each time. */
WJ_INTERNAL uint32_t wj_random(stencil_emitter *e);

/* ---- stencil_operands.c ---- */

/* A region begins: its locals are in their registers, all operands in the frame. */
WJ_INTERNAL void wj_set_region(stencil_emitter *e, uint32_t region);
/* Where an operand will be that is made now: a register if one is free, rather the one that is `wanted` (0: none). */
WJ_INTERNAL uint8_t wj_place_operand(stencil_emitter *e, uint32_t slot, bool is_float, uint8_t wanted);
/* A register that nothing is in, and is not `taken`; then it is. IN_FRAME: there is none. */
WJ_INTERNAL uint8_t wj_free_place(stencil_emitter *e, bool is_float, uint32_t *taken);
static inline bool wj_is_operand(const stencil_emitter *e, uint32_t slot)
{
    return slot >= e->local_count;
}
/* Where a local will be, for the rest of the block, that is in no register and is written now, to the frame too. */
WJ_INTERNAL uint8_t wj_place_copy(stencil_emitter *e, uint32_t slot, bool is_float, uint8_t wanted);
/* Forgets the copy of a local, if there is one. */
WJ_INTERNAL void wj_drop_copy(stencil_emitter *e, uint32_t slot);
/* An operand that is a constant was used. */
WJ_INTERNAL void wj_drop_constant(stencil_emitter *e, uint32_t slot);
/* Where a place is in `stencil_emitter.held`; it is a register. */
static inline uint32_t wj_index_of(uint8_t place)
{
    enum { FIRST_OF_FLOATS = FIRST_FLOAT - INTEGER_REGISTERS - FIRST_INTEGER };
    _Static_assert(FIRST_FLOAT == 16 && FIRST_FLOAT + FLOAT_REGISTERS <= 32, "the fifth bit is that of floats");
    return place - (uint32_t)FIRST_INTEGER - (place >> 4) * (uint32_t)FIRST_OF_FLOATS;
}
/* An operand was used, and its register is free. */
static inline void wj_drop_operand(stencil_emitter *e, uint32_t slot)
{
    uint8_t in = e->registers[slot];
    if (in == NOWHERE) {
        wj_drop_constant(e, slot);
    } else if (in != IN_FRAME) {
        e->held[wj_index_of(in)] = NO_SLOT;
        e->occupied &= ~(1u << wj_index_of(in));
    }
    e->registers[slot] = IN_FRAME;
}
/* An operand is a constant. */
WJ_INTERNAL void wj_place_constant(stencil_emitter *e, uint32_t slot, uint64_t value);
/* The constant that an operand is, or NULL. */
WJ_INTERNAL const uint64_t *wj_constant_of(const stencil_emitter *e, uint32_t slot);
/* Puts a constant into a register, or the frame. */
WJ_INTERNAL void wj_load_constant(stencil_emitter *e, uint32_t slot, bool is_float);
/* Whether what is in the register of a slot has zeros above its low half. */
static inline bool wj_is_narrow(const stencil_emitter *e, uint32_t slot)
{
    uint8_t in = e->registers[slot];
    if (in == IN_FRAME || in >= NOWHERE) {
        return false;
    }
    return wj_is_operand(e, slot) ? (e->narrow >> wj_index_of(in) & 1) != 0 : e->is_narrow[slot] != 0;
}
/* Notes whether what was just written there has. */
static inline void wj_note_narrow(stencil_emitter *e, uint32_t slot, bool narrow)
{
    uint8_t in = e->registers[slot];
    if (wj_is_operand(e, slot) && in != IN_FRAME && in != NOWHERE) {
        uint32_t i = wj_index_of(in);
        e->narrow = (e->narrow & ~(1u << i)) | (uint32_t)narrow << i;
    }
}
/* Whether what is in the register of a slot is a v128, which is two slots. */
WJ_INTERNAL bool wj_is_vector(const stencil_emitter *e, uint32_t slot);
/* Notes that it is, of what was just placed there. */
WJ_INTERNAL void wj_note_vector(stencil_emitter *e, uint32_t slot);
/* Forgets all operands, and copies. */
WJ_INTERNAL void wj_drop_operands(stencil_emitter *e);
/* All operands go to the frame, but for those of an instruction; if `keep`, they are in registers too. */
WJ_INTERNAL void wj_store_operands(stencil_emitter *e, const uint32_t *but, uint32_t count, bool keep);

/* ---- stencil_access.c ---- */

/* Counts an access for the choice of the home memory. */
WJ_INTERNAL void wj_count_access(stencil_emitter *e, const uint32_t *word, uint32_t depth);
/* A load or store, compared or not. */
WJ_INTERNAL void wj_emit_access(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word);
/* Traps unless a memory has all up to `end` behind an address. */
WJ_INTERNAL void wj_emit_check(stencil_emitter *e, uint32_t memory, uint32_t address, uint64_t end, bool is_wide);
/* Where control comes from elsewhere, too: nothing is known to have been compared. */
WJ_INTERNAL void wj_forget_checks(stencil_emitter *e);
/* Nor what an instruction writes. */
WJ_INTERNAL void wj_forget_checks_of(stencil_emitter *e, const stencil_instruction *found);
/* Where a block ends. */
WJ_INTERNAL void wj_use_home_memory(stencil_emitter *e);

/* ---- stencil_vectors.c ---- */

/* Finds the locals that are vectors: parameters, and those of an operation with VECTORS. */
WJ_INTERNAL void wj_find_vector_parameters(stencil_emitter *e);
WJ_INTERNAL void wj_find_vectors(stencil_emitter *e, const uint32_t *word);
/* An operation with vectors that is not all of one stencil, or none for this engine. */
WJ_INTERNAL bool wj_emit_vector(stencil_emitter *e, const stencil_instruction *found, const uint32_t *word);

/* ---- stencil_places.c ---- */

/* Between a register and the slot that is in it; nothing if that is in none. */
WJ_INTERNAL void wj_store_register(stencil_emitter *e, uint32_t slot);
WJ_INTERNAL void wj_load_register(stencil_emitter *e, uint32_t slot);
/* All registers of locals, or those that calls change. */
WJ_INTERNAL void wj_store_registers(stencil_emitter *e, bool all);
WJ_INTERNAL void wj_load_registers(stencil_emitter *e);
/* What leads from one region's registers to another's; nothing if they are the same. */
WJ_INTERNAL void wj_emit_edge(stencil_emitter *e, uint32_t from, uint32_t to);

/* The constants that stencils read. */
WJ_INTERNAL const uint8_t *wj_stencil_pool(size_t *size_bytes);

/* What the code calls: the number of a memory's pages; the code to go on in from a hot loop, or 0. */
WJ_INTERNAL uint64_t wj_native_memory_size(void *vmctx, uint32_t index);
WJ_INTERNAL wj_hot_answer wj_native_hot(void *vmctx, uint32_t position, uint32_t loop_offset);

#endif
