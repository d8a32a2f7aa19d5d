/* x86-64 System V stubs between C and generated code. See arch.h for the offsets, wj.h for the contracts. */
#include "wj.h"

#include <string.h>

#if defined(__x86_64__)

/* Between a wj_frame, whose address is in the register `base`, and the registers of a call. */
#define SAVE(move, register, place, base) "    " move " " register ", " place "(" base ")\n"
#define LOAD(move, register, place, base) "    " move " " place "(" base "), " register "\n"
#define INT_ARGUMENTS(MOVE, base)    \
    MOVE("movq", "%rdi", "0", base)  \
    MOVE("movq", "%rsi", "8", base)  \
    MOVE("movq", "%rdx", "16", base) \
    MOVE("movq", "%rcx", "24", base) \
    MOVE("movq", "%r8", "32", base)  \
    MOVE("movq", "%r9", "40", base)
#define FLOAT_ARGUMENTS(MOVE, base)                                \
    MOVE("movaps", "%xmm0", "0+" WJ_TEXT(WJ_FRAME_FLOATS), base)   \
    MOVE("movaps", "%xmm1", "16+" WJ_TEXT(WJ_FRAME_FLOATS), base)  \
    MOVE("movaps", "%xmm2", "32+" WJ_TEXT(WJ_FRAME_FLOATS), base)  \
    MOVE("movaps", "%xmm3", "48+" WJ_TEXT(WJ_FRAME_FLOATS), base)  \
    MOVE("movaps", "%xmm4", "64+" WJ_TEXT(WJ_FRAME_FLOATS), base)  \
    MOVE("movaps", "%xmm5", "80+" WJ_TEXT(WJ_FRAME_FLOATS), base)  \
    MOVE("movaps", "%xmm6", "96+" WJ_TEXT(WJ_FRAME_FLOATS), base)  \
    MOVE("movaps", "%xmm7", "112+" WJ_TEXT(WJ_FRAME_FLOATS), base)
#define RESULTS(MOVE, base)                                              \
    MOVE("movq", "%rax", WJ_TEXT(WJ_FRAME_INT_RESULTS), base)            \
    MOVE("movq", "%rdx", "8+" WJ_TEXT(WJ_FRAME_INT_RESULTS), base)       \
    MOVE("movaps", "%xmm0", WJ_TEXT(WJ_FRAME_FLOAT_RESULTS), base)       \
    MOVE("movaps", "%xmm1", "16+" WJ_TEXT(WJ_FRAME_FLOAT_RESULTS), base)
#define ARGUMENTS_TO_FRAME(base) INT_ARGUMENTS(SAVE, base) FLOAT_ARGUMENTS(SAVE, base)
#define ARGUMENTS_FROM_FRAME(base) FLOAT_ARGUMENTS(LOAD, base) INT_ARGUMENTS(LOAD, base)
#define RESULTS_TO_FRAME(base) RESULTS(SAVE, base)
#define RESULTS_FROM_FRAME(base) RESULTS(LOAD, base)

/* void wj_boundary_gate(arguments as they are; wj_entry *entry %r13)
 * Calls entry->code with the arguments of its own caller and returns what it returns. Below %rbp: 5 callee-saved
 * registers (40 bytes), 24 bytes of which the caller's mxcsr takes the first 4. Wasm needs the default rounding mode and
 * denormals (spec 4.3.3); loading mxcsr is slow, so only an unusual one is replaced. The landing expects %rsp = %rbp - 64
 * and the status in %eax, nothing else: all other registers are the trapped code's, the entry's address comes from the
 * stack. %rax, %r10 and %r11 pass no arguments. */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_boundary_gate\n"
        "    .hidden wj_boundary_gate\n"
        "    .type wj_boundary_gate, @function\n"
        "wj_boundary_gate:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n" /* at -24(%rbp): the entry */
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    .cfi_offset %rbx, -24\n"
        "    .cfi_offset %r12, -32\n"
        "    .cfi_offset %r13, -40\n"
        "    .cfi_offset %r14, -48\n"
        "    .cfi_offset %r15, -56\n"
        "    subq $24, %rsp\n"
        "    stmxcsr (%rsp)\n"
        "    movl (%rsp), %eax\n"
        "    andl $0xffc0, %eax\n" /* without the sticky exception flags */
        "    cmpl $0x1f80, %eax\n"
        "    jne 4f\n"
        "1:  movq %rsp, " WJ_TEXT(WJ_ENTRY_LANDING_SP) "(%r13)\n"
        "    movq %rbp, " WJ_TEXT(WJ_ENTRY_LANDING_FP) "(%r13)\n"
        "    leaq 3f(%rip), %rax\n"
        "    movq %rax, " WJ_TEXT(WJ_ENTRY_LANDING_PC) "(%r13)\n"
        "    movq " WJ_TEXT(WJ_ENTRY_STACK_SLOTS) "(%r13), %r10\n" /* an even number */
        "    testq %r10, %r10\n"
        "    jne 7f\n"
        "2:  call *" WJ_TEXT(WJ_ENTRY_CODE) "(%r13)\n"
        "    leaq -64(%rbp), %rsp\n"
        "8:  movl (%rsp), %ecx\n"
        "    andl $0xffc0, %ecx\n"
        "    cmpl $0x1f80, %ecx\n"
        "    jne 5f\n"
        "6:  addq $24, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    .cfi_remember_state\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "    .cfi_restore_state\n"
        "3:  movq -24(%rbp), %rcx\n" /* the landing */
        "    movl %eax, " WJ_TEXT(WJ_ENTRY_STATUS) "(%rcx)\n"
        "    jmp 8b\n"
        "4:  movl $0x1f80, 4(%rsp)\n"
        "    ldmxcsr 4(%rsp)\n"
        "    jmp 1b\n"
        "5:  ldmxcsr (%rsp)\n"
        "    jmp 6b\n"
        "7:  movq 8(%rbp,%r10,8), %r11\n" /* the last of the arguments first */
        "    pushq %r11\n"
        "    decq %r10\n"
        "    jne 7b\n"
        "    jmp 2b\n"
        "    .cfi_endproc\n"
        "    .size wj_boundary_gate, . - wj_boundary_gate\n");

/* void wj_enter(wj_entry *entry %rdi, wj_frame *frame %rsi) */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_enter\n"
        "    .hidden wj_enter\n"
        "    .type wj_enter, @function\n"
        "wj_enter:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r13\n"
        "    .cfi_offset %rbx, -24\n"
        "    .cfi_offset %r13, -32\n"
        "    movq %rdi, %r13\n"
        "    movq %rsi, %rbx\n"
        "    movq " WJ_TEXT(WJ_ENTRY_STACK_SLOTS) "(%r13), %rcx\n"
        "    testq %rcx, %rcx\n"
        "    je 1f\n"
        "    leaq (,%rcx,8), %rax\n"
        "    subq %rax, %rsp\n"
        "    leaq " WJ_TEXT(WJ_FRAME_STACK) "(%rbx), %rsi\n"
        "    movq %rsp, %rdi\n"
        "    cld\n"
        "    rep movsq\n"
        "1:\n"
        ARGUMENTS_FROM_FRAME("%rbx")
        "    call wj_boundary_gate\n"
        RESULTS_TO_FRAME("%rbx")
        "    leaq -16(%rbp), %rsp\n"
        "    popq %r13\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        "    .size wj_enter, . - wj_enter\n");

/* void wj_unwind(wj_entry *entry %rdi, int status %esi) */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_unwind\n"
        "    .hidden wj_unwind\n"
        "    .type wj_unwind, @function\n"
        "wj_unwind:\n"
        "    movl %esi, %eax\n"
        "    movq " WJ_TEXT(WJ_ENTRY_LANDING_SP) "(%rdi), %rsp\n"
        "    movq " WJ_TEXT(WJ_ENTRY_LANDING_FP) "(%rdi), %rbp\n"
        "    jmpq *" WJ_TEXT(WJ_ENTRY_LANDING_PC) "(%rdi)\n"
        "    .size wj_unwind, . - wj_unwind\n");

/* void wj_land(uintptr_t pc %rdi, uintptr_t sp %rsi, uintptr_t fp %rdx) */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_land\n"
        "    .hidden wj_land\n"
        "    .type wj_land, @function\n"
        "wj_land:\n"
        "    movq %rsi, %rsp\n"
        "    movq %rdx, %rbp\n"
        "    jmpq *%rdi\n"
        "    .size wj_land, . - wj_land\n");

/* The code of every host func-ref: lays a wj_frame over the stack, so that its link is the saved %rbp and return
 * address and its stack slots are the caller's stack arguments. */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_host_stub\n"
        "    .hidden wj_host_stub\n"
        "    .type wj_host_stub, @function\n"
        "wj_host_stub:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    subq $" WJ_TEXT(WJ_FRAME_LINK) ", %rsp\n"
        ARGUMENTS_TO_FRAME("%rsp")
        "    movq %rsp, %rsi\n"
        "    call wj_host_dispatch\n"
        RESULTS_FROM_FRAME("%rsp")
        "    leave\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        "    .size wj_host_stub, . - wj_host_stub\n");

/* What the stubs of functions without code jump to (runtime/entries.py), with the function's position in %eax and the
 * arguments of the call as they are, which wj_interpret finds in a wj_frame, as wj_host_dispatch does. If it returns code,
 * that is jumped to in its place, with nothing left on the stack. */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_codeless_stub\n"
        "    .hidden wj_codeless_stub\n"
        "    .type wj_codeless_stub, @function\n"
        "wj_codeless_stub:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    subq $" WJ_TEXT(WJ_FRAME_LINK) ", %rsp\n"
        ARGUMENTS_TO_FRAME("%rsp")
        "    movl %eax, %edi\n"
        "    movq %rsp, %rsi\n"
        "    call wj_interpret\n"
        "    testq %rax, %rax\n"
        "    jne 1f\n"
        RESULTS_FROM_FRAME("%rsp")
        "    leave\n"
        "    .cfi_remember_state\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "    .cfi_restore_state\n"
        "1:  movq %rax, %r11\n"
        ARGUMENTS_FROM_FRAME("%rsp")
        "    leave\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    jmpq *%r11\n"
        "    .cfi_endproc\n"
        "    .size wj_codeless_stub, . - wj_codeless_stub\n");

/* void wj_call_frame(const void *code %rdi, wj_frame *frame %rsi, uint64_t stack_slots %rdx): as wj_enter, without a
 * landing point. */
__asm__("    .text\n"
        "    .p2align 4\n"
        "    .globl wj_call_frame\n"
        "    .hidden wj_call_frame\n"
        "    .type wj_call_frame, @function\n"
        "wj_call_frame:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    .cfi_offset %rbx, -24\n"
        "    .cfi_offset %r12, -32\n"
        "    movq %rdi, %r12\n"
        "    movq %rsi, %rbx\n"
        "    testq %rdx, %rdx\n"
        "    je 1f\n"
        "    movq %rdx, %rcx\n"
        "    leaq (,%rcx,8), %rax\n"
        "    subq %rax, %rsp\n"
        "    leaq " WJ_TEXT(WJ_FRAME_STACK) "(%rbx), %rsi\n"
        "    movq %rsp, %rdi\n"
        "    cld\n"
        "    rep movsq\n"
        "1:\n"
        ARGUMENTS_FROM_FRAME("%rbx")
        "    call *%r12\n"
        RESULTS_TO_FRAME("%rbx")
        "    leaq -16(%rbp), %rsp\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        "    .size wj_call_frame, . - wj_call_frame\n");

/* movq distance(%rip), %r10; jmpq *distance+8(%rip): offsets count from the next instruction. */
void wj_write_thunks(uint8_t *where, uint64_t count, uint64_t distance_bytes)
{
    for (uint64_t i = 0; i < count; i++, where += WJ_THUNK_BYTES) {
        uint8_t code[WJ_THUNK_BYTES] = {0x4c, 0x8b, 0x15, 0, 0, 0, 0, 0xff, 0x25, 0, 0, 0, 0, 0xcc, 0xcc, 0xcc};
        uint32_t target = (uint32_t)distance_bytes - 7;
        uint32_t address = (uint32_t)distance_bytes + 8 - 13;
        memcpy(code + 3, &target, sizeof target);
        memcpy(code + 9, &address, sizeof address);
        memcpy(where, code, sizeof code);
    }
}

#endif
