/* AArch64 (AAPCS64) stubs between C and generated code. See arch.h for the offsets, wj.h for the contracts. */
#include "wj.h"

#include <string.h>

#if defined(__aarch64__)

/* Compilers that protect branches by default (-mbranch-protection=standard, as in Ubuntu) mark this file as made of
 * code whose indirect branches end at a BTI instruction, the assembly included. Elsewhere these do nothing. */
#define BTI_CALL "    hint #34\n" /* bti c: what generated code calls by address */
#define BTI_JUMP "    hint #36\n" /* bti j: where wj_unwind jumps to */

/* Between a wj_frame, whose address is in the register `base`, and the registers of a call. */
#define INT_ARGUMENTS(move, base)            \
    "    " move " x0, x1, [" base ", #0]\n"  \
    "    " move " x2, x3, [" base ", #16]\n" \
    "    " move " x4, x5, [" base ", #32]\n" \
    "    " move " x6, x7, [" base ", #48]\n"
#define FLOAT_ARGUMENTS(move, base)                                       \
    "    " move " q0, q1, [" base ", #0+" WJ_TEXT(WJ_FRAME_FLOATS) "]\n"  \
    "    " move " q2, q3, [" base ", #32+" WJ_TEXT(WJ_FRAME_FLOATS) "]\n" \
    "    " move " q4, q5, [" base ", #64+" WJ_TEXT(WJ_FRAME_FLOATS) "]\n" \
    "    " move " q6, q7, [" base ", #96+" WJ_TEXT(WJ_FRAME_FLOATS) "]\n"
#define RESULTS(move, base)                                                   \
    "    " move " x0, x1, [" base ", #" WJ_TEXT(WJ_FRAME_INT_RESULTS) "]\n"   \
    "    " move " q0, q1, [" base ", #" WJ_TEXT(WJ_FRAME_FLOAT_RESULTS) "]\n"
#define ARGUMENTS_TO_FRAME(base) INT_ARGUMENTS("stp", base) FLOAT_ARGUMENTS("stp", base)
#define ARGUMENTS_FROM_FRAME(base) FLOAT_ARGUMENTS("ldp", base) INT_ARGUMENTS("ldp", base)
#define RESULTS_TO_FRAME(base) RESULTS("stp", base)
#define RESULTS_FROM_FRAME(base) RESULTS("ldp", base)

/* void wj_boundary_gate(arguments as they are; wj_entry *entry x20)
 * Calls entry->code with the arguments of its own caller and returns what it returns. The frame record, the callee-saved
 * registers and the caller's FPCR take 176 bytes. Wasm needs the default rounding mode and denormals (spec 4.3.3). The
 * landing expects sp = x29 and the status in w0, nothing else. x9 to x16 pass no arguments. */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_boundary_gate\n"
        "    .hidden wj_boundary_gate\n"
        "    .type wj_boundary_gate, %function\n"
        "wj_boundary_gate:\n"
        "    .cfi_startproc\n"
        BTI_CALL
        "    stp x29, x30, [sp, #-176]!\n"
        "    .cfi_def_cfa_offset 176\n"
        "    .cfi_offset x29, -176\n"
        "    .cfi_offset x30, -168\n"
        "    mov x29, sp\n"
        "    .cfi_def_cfa_register x29\n"
        "    stp x19, x20, [sp, #16]\n" /* at 24: the entry */
        "    stp x21, x22, [sp, #32]\n"
        "    stp x23, x24, [sp, #48]\n"
        "    stp x25, x26, [sp, #64]\n"
        "    stp x27, x28, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    .cfi_offset x19, -160\n"
        "    .cfi_offset x20, -152\n"
        "    mrs x9, fpcr\n"
        "    str x9, [sp, #160]\n"
        "    cbnz x9, 4f\n"
        "1:  mov x10, sp\n"
        "    str x10, [x20, #" WJ_TEXT(WJ_ENTRY_LANDING_SP) "]\n"
        "    str x29, [x20, #" WJ_TEXT(WJ_ENTRY_LANDING_FP) "]\n"
        "    adr x10, 3f\n"
        "    str x10, [x20, #" WJ_TEXT(WJ_ENTRY_LANDING_PC) "]\n"
        "    ldr x16, [x20, #" WJ_TEXT(WJ_ENTRY_CODE) "]\n"
        "    ldr x9, [x20, #" WJ_TEXT(WJ_ENTRY_STACK_SLOTS) "]\n" /* an even number */
        "    cbz x9, 2f\n"
        "    sub sp, sp, x9, uxtx #3\n"
        "    add x10, x29, #176\n"
        "    mov x11, sp\n"
        "5:  ldr x12, [x10], #8\n"
        "    str x12, [x11], #8\n"
        "    subs x9, x9, #1\n"
        "    b.ne 5b\n"
        "2:  blr x16\n"
        "    mov sp, x29\n"
        "8:  ldr x9, [sp, #160]\n"
        "    cbnz x9, 6f\n"
        "7:  ldp x19, x20, [sp, #16]\n"
        "    ldp x21, x22, [sp, #32]\n"
        "    ldp x23, x24, [sp, #48]\n"
        "    ldp x25, x26, [sp, #64]\n"
        "    ldp x27, x28, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    ldp x29, x30, [sp], #176\n"
        "    .cfi_remember_state\n"
        "    .cfi_def_cfa sp, 0\n"
        "    ret\n"
        "    .cfi_restore_state\n"
        "3:\n" /* the landing */
        BTI_JUMP
        "    ldr x9, [sp, #24]\n"
        "    str w0, [x9, #" WJ_TEXT(WJ_ENTRY_STATUS) "]\n"
        "    b 8b\n"
        "4:  msr fpcr, xzr\n"
        "    b 1b\n"
        "6:  msr fpcr, x9\n"
        "    b 7b\n"
        "    .cfi_endproc\n"
        "    .size wj_boundary_gate, . - wj_boundary_gate\n");

/* void wj_enter(wj_entry *entry x0, wj_frame *frame x1) */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_enter\n"
        "    .hidden wj_enter\n"
        "    .type wj_enter, %function\n"
        "wj_enter:\n"
        "    .cfi_startproc\n"
        "    stp x29, x30, [sp, #-32]!\n"
        "    .cfi_def_cfa_offset 32\n"
        "    .cfi_offset x29, -32\n"
        "    .cfi_offset x30, -24\n"
        "    mov x29, sp\n"
        "    .cfi_def_cfa_register x29\n"
        "    stp x19, x20, [sp, #16]\n"
        "    .cfi_offset x19, -16\n"
        "    .cfi_offset x20, -8\n"
        "    mov x20, x0\n"
        "    mov x19, x1\n"
        "    ldr x9, [x20, #" WJ_TEXT(WJ_ENTRY_STACK_SLOTS) "]\n"
        "    cbz x9, 2f\n"
        "    sub sp, sp, x9, uxtx #3\n"
        "    add x10, x19, #" WJ_TEXT(WJ_FRAME_STACK) "\n"
        "    mov x11, sp\n"
        "1:  ldr x12, [x10], #8\n"
        "    str x12, [x11], #8\n"
        "    subs x9, x9, #1\n"
        "    b.ne 1b\n"
        "2:\n"
        ARGUMENTS_FROM_FRAME("x19")
        "    bl wj_boundary_gate\n"
        RESULTS_TO_FRAME("x19")
        "    mov sp, x29\n"
        "    ldp x19, x20, [sp, #16]\n"
        "    ldp x29, x30, [sp], #32\n"
        "    .cfi_def_cfa sp, 0\n"
        "    ret\n"
        "    .cfi_endproc\n"
        "    .size wj_enter, . - wj_enter\n");

/* void wj_unwind(wj_entry *entry x0, int status w1) */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_unwind\n"
        "    .hidden wj_unwind\n"
        "    .type wj_unwind, %function\n"
        "wj_unwind:\n"
        "    ldr x9, [x0, #" WJ_TEXT(WJ_ENTRY_LANDING_SP) "]\n"
        "    ldr x29, [x0, #" WJ_TEXT(WJ_ENTRY_LANDING_FP) "]\n"
        "    ldr x10, [x0, #" WJ_TEXT(WJ_ENTRY_LANDING_PC) "]\n"
        "    mov sp, x9\n"
        "    mov w0, w1\n"
        "    br x10\n"
        "    .size wj_unwind, . - wj_unwind\n");

/* The code of every host func-ref: lays a wj_frame over the stack, so that its link is the frame record (x29, x30)
 * and its stack slots are the caller's stack arguments. */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_host_stub\n"
        "    .hidden wj_host_stub\n"
        "    .type wj_host_stub, %function\n"
        "wj_host_stub:\n"
        "    .cfi_startproc\n"
        BTI_CALL
        "    sub sp, sp, #" WJ_TEXT(WJ_FRAME_STACK) "\n"
        "    .cfi_def_cfa_offset " WJ_TEXT(WJ_FRAME_STACK) "\n"
        "    stp x29, x30, [sp, #" WJ_TEXT(WJ_FRAME_LINK) "]\n"
        "    .cfi_offset x29, -16\n"
        "    .cfi_offset x30, -8\n"
        "    add x29, sp, #" WJ_TEXT(WJ_FRAME_LINK) "\n"
        ARGUMENTS_TO_FRAME("sp")
        "    mov x1, sp\n"
        "    bl wj_host_dispatch\n"
        RESULTS_FROM_FRAME("sp")
        "    ldp x29, x30, [sp, #" WJ_TEXT(WJ_FRAME_LINK) "]\n"
        "    add sp, sp, #" WJ_TEXT(WJ_FRAME_STACK) "\n"
        "    .cfi_def_cfa_offset 0\n"
        "    ret\n"
        "    .cfi_endproc\n"
        "    .size wj_host_stub, . - wj_host_stub\n");

/* What the stubs of functions without code jump to (runtime/entries.py), with the function's position in w16 and the
 * arguments of the call as they are, which wj_interpret finds in a wj_frame, as wj_host_dispatch does. If it returns code,
 * that is jumped to in its place, with nothing left on the stack. */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_codeless_stub\n"
        "    .hidden wj_codeless_stub\n"
        "    .type wj_codeless_stub, %function\n"
        "wj_codeless_stub:\n"
        "    .cfi_startproc\n"
        BTI_CALL
        "    sub sp, sp, #" WJ_TEXT(WJ_FRAME_STACK) "\n"
        "    .cfi_def_cfa_offset " WJ_TEXT(WJ_FRAME_STACK) "\n"
        "    stp x29, x30, [sp, #" WJ_TEXT(WJ_FRAME_LINK) "]\n"
        "    .cfi_offset x29, -16\n"
        "    .cfi_offset x30, -8\n"
        "    add x29, sp, #" WJ_TEXT(WJ_FRAME_LINK) "\n"
        ARGUMENTS_TO_FRAME("sp")
        "    mov w0, w16\n"
        "    mov x1, sp\n"
        "    bl wj_interpret\n"
        "    cbnz x0, 1f\n"
        RESULTS_FROM_FRAME("sp")
        "    ldp x29, x30, [sp, #" WJ_TEXT(WJ_FRAME_LINK) "]\n"
        "    add sp, sp, #" WJ_TEXT(WJ_FRAME_STACK) "\n"
        "    .cfi_remember_state\n"
        "    .cfi_def_cfa_offset 0\n"
        "    ret\n"
        "    .cfi_restore_state\n"
        "1:  mov x17, x0\n"
        ARGUMENTS_FROM_FRAME("sp")
        "    ldp x29, x30, [sp, #" WJ_TEXT(WJ_FRAME_LINK) "]\n"
        "    add sp, sp, #" WJ_TEXT(WJ_FRAME_STACK) "\n"
        "    .cfi_def_cfa_offset 0\n"
        "    br x17\n"
        "    .cfi_endproc\n"
        "    .size wj_codeless_stub, . - wj_codeless_stub\n");

/* void wj_land(uintptr_t pc x0, uintptr_t sp x1, uintptr_t fp x2) */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_land\n"
        "    .hidden wj_land\n"
        "    .type wj_land, %function\n"
        "wj_land:\n"
        "    mov sp, x1\n"
        "    mov x29, x2\n"
        "    br x0\n"
        "    .size wj_land, . - wj_land\n");

/* void wj_call_frame(const void *code x0, wj_frame *frame x1, uint64_t stack_slots x2): as wj_enter, without a landing
 * point. */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_call_frame\n"
        "    .hidden wj_call_frame\n"
        "    .type wj_call_frame, %function\n"
        "wj_call_frame:\n"
        "    .cfi_startproc\n"
        "    stp x29, x30, [sp, #-32]!\n"
        "    .cfi_def_cfa_offset 32\n"
        "    .cfi_offset x29, -32\n"
        "    .cfi_offset x30, -24\n"
        "    mov x29, sp\n"
        "    .cfi_def_cfa_register x29\n"
        "    stp x19, x20, [sp, #16]\n"
        "    .cfi_offset x19, -16\n"
        "    .cfi_offset x20, -8\n"
        "    mov x20, x0\n"
        "    mov x19, x1\n"
        "    add x10, x19, #" WJ_TEXT(WJ_FRAME_STACK) "\n"
        "    sub sp, sp, x2, lsl #3\n"
        "    mov x11, sp\n"
        "1:  cbz x2, 2f\n"
        "    ldp x12, x13, [x10], #16\n"
        "    stp x12, x13, [x11], #16\n"
        "    sub x2, x2, #2\n"
        "    b 1b\n"
        "2:\n"
        ARGUMENTS_FROM_FRAME("x19")
        "    blr x20\n"
        RESULTS_TO_FRAME("x19")
        "    mov sp, x29\n"
        "    ldp x19, x20, [sp, #16]\n"
        "    ldp x29, x30, [sp], #32\n"
        "    .cfi_def_cfa sp, 0\n"
        "    ret\n"
        "    .cfi_endproc\n"
        "    .size wj_call_frame, . - wj_call_frame\n");

/* adr x16, distance; ldp x15, x16, [x16]; br x16 */
void wj_write_thunks(uint8_t *where, uint64_t count, uint64_t distance_bytes)
{
    for (uint64_t i = 0; i < count; i++, where += WJ_THUNK_BYTES) {
        uint32_t low = (uint32_t)distance_bytes & 3;
        uint32_t high = (uint32_t)(distance_bytes >> 2) & 0x7ffff; /* the distance is below 1 MiB */
        uint32_t code[WJ_THUNK_BYTES / 4] = {0x10000010u | low << 29 | high << 5, 0xa940420fu, 0xd61f0200u, 0};
        memcpy(where, code, sizeof code);
    }
}

#endif
