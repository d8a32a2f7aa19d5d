/* The stencil tier: native code of functions that the interpreter has translated, made in microseconds.
 *
 * LLVM has made a piece of machine code of each of the interpreter's operations, for each form of its operands, when the
 * runtime was built (wasmjit/stencils). A function's code is a copy of one piece behind the other, in which the slots of
 * operands, the registers of those that are in one, constants and the distances of jumps are filled in.
 *
 * An activation has a frame on the native stack with a slot for each local and operand, as the interpreter's has, and a
 * place for what it saves. Those slots that the function uses most in its loops are in registers instead; before whatever
 * may look at them in the frame, they are stored there. */
#ifndef WJ_STENCIL_H
#define WJ_STENCIL_H

#include "interpret.h"

/* Processors that there are stencils for. For others all is interpreted, and what makes code of them is left out: it would refer
 * to what only they have. */
#if defined(__x86_64__) || defined(__aarch64__)
#define WJ_HAS_STENCILS
#endif

/* What is written into a hole, and the numbers of `wj_stencil_hole.what` (wasmjit/stencils/header.py). */
enum {
    WJ_HOLE_RESULT = 0,
    WJ_HOLE_FIRST = 1,
    WJ_HOLE_SECOND = 2,
    WJ_HOLE_THIRD = 3,
    WJ_HOLE_NARROW = 4,
    WJ_HOLE_WIDE = 5,
    WJ_HOLE_FULL = 6,
    WJ_HOLE_TARGET = 7,
    WJ_HOLE_POOL = 8,
    WJ_HOLE_BYTE = 9,
    WJ_HOLE_PLACE = 10,
    WJ_HOLE_TRAP = 16, /* and the number of the trap */
};

/* Of a register's number: the three low bits, or the fourth, of operand `operand - WJ_STENCIL_HIGH`. */
enum { WJ_STENCIL_HIGH = 4 };
typedef struct {
    uint8_t offset, shift, operand;
} wj_stencil_field;

typedef struct {
    uint8_t offset, what;
    int16_t addend;
} wj_stencil_hole;

typedef struct {
    uint32_t code;
    uint16_t fields, holes;
    uint8_t size_bytes, field_count, hole_count;
    /* One more than the index of a hole of 32 bits for which 8 are enough where its value fits: what is behind, at the most
     * a jump to the target, moves up. What is xor-ed then into which byte. */
    uint8_t short_hole, short_offset, short_change;
} wj_stencil;

typedef struct {
    uint16_t forms;        /* of all combinations, the first */
    uint8_t operand_count; /* the result counts as one */
    uint8_t has_result;
    uint8_t floats; /* a bit for each operand: whether its registers are those of floats */
    uint8_t is_narrow; /* the result is an i32, above which there are zeros */
    uint8_t vectors;   /* a bit for each operand: whether it is a v128 */
} wj_stencil_operation;

/* What an operation of the interpreter that is a row has as its result: an i32, above which there are zeros, or another. */
enum { WJ_RESULT_UNKNOWN = 0, WJ_RESULT_NONE, WJ_RESULT_NARROW, WJ_RESULT_WIDE };

/* The limit of code from stencils, which is called from `here`: where its frames are beyond, it goes on in the interpreter.
 * Compiled code cannot: it finds as much of the stack again. */
static inline uint64_t wj_stencil_limit(uint64_t here, uint64_t stack_limit)
{
    return here > stack_limit ? stack_limit + (here - stack_limit) / 2 : stack_limit;
}

/* ---- stencil_code.c ---- */

/* Where code lies: mapped twice, so that no page is ever writable and executable at once. */
typedef struct wj_code_arena wj_code_arena;
struct wj_code_arena {
    wj_code_arena *next;
    uint8_t *writable;
    uint8_t *executable;
    size_t size_bytes, used_bytes;
    size_t committed_bytes; /* from the start on there are pages */
    uint32_t generation;    /* wj_fork_generation of the process that writes there, no other one */
};

/* The code of one function. Nothing of it changes. */
typedef struct wj_native wj_native;
struct wj_native {
    wj_native *next; /* in wj_interpreter.natives */
    const uint8_t *code;
    uint32_t size_bytes;
    uint32_t frame_bytes; /* below the frame record, on the native stack */
    uint32_t function_index;
    uint32_t sites_bytes;
    /* Of what may trap or call, in ascending order, what is added to each: to the place in the code, and, twice it or twice what it
     * lacks to -1 and 1, to the offset in the module; in LEB128. */
    uint8_t sites[];
};

/* A finished translation, for `wj_native_publish`. */
typedef struct {
    const uint8_t *code;
    size_t size_bytes;
    uint32_t frame_bytes;
    const uint8_t *sites;
    size_t sites_bytes;
} wj_translated_code;

#define WJ_NO_NATIVE ((const wj_native *)1) /* of a function that is interpreted only */

/* Makes the code executable; NULL if there is no memory for it, or the system lets nobody write code: then the module's
 * functions that have none are interpreted, for some time. */
WJ_INTERNAL wj_native *wj_native_publish(wj_interpreter *interpreter, uint32_t function_index, const wj_translated_code *code);
WJ_INTERNAL void wj_natives_free(wj_interpreter *interpreter);
WJ_INTERNAL void wj_natives_before_fork(void);
WJ_INTERNAL void wj_natives_after_fork(void);
/* The function whose code pc is in, or NULL; and the offset in the module. */
WJ_INTERNAL const wj_native *wj_native_find(const wj_interpreter *interpreter, uintptr_t pc, uint32_t *offset);

/* ---- stencil_function.c ---- */

/* Native code of a function, translated now if it was not; NULL if it has something that there are no stencils of, if
 * there is no memory, or something is to interrupt this thread first. */
WJ_INTERNAL const wj_native *wj_native_of(wj_interpreter *interpreter, wj_interpreted *function);

/* Whether this processor can run the stencils. */
WJ_INTERNAL bool wj_has_stencils(void);

#endif
