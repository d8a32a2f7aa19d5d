/* What differs between processors: the shape of a call frame, the trap instruction, registers in a signal context.
 * The two entry stubs in arch_x86_64.c / arch_aarch64.c use the same offsets. */
#ifndef WJ_ARCH_H
#define WJ_ARCH_H

#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "wj_abi.h"

/* Offsets as plain numbers because assembly pastes them; wj.h asserts them against the structs. */
#if defined(__x86_64__)
#define WJ_INT_REGISTERS WJ_INT_REGISTERS_X86_64
#define WJ_FRAME_FLOATS 48
#define WJ_FRAME_INT_RESULTS 176
#define WJ_FRAME_FLOAT_RESULTS 192
#define WJ_FRAME_LINK 224
#define WJ_FRAME_STACK 240
#elif defined(__aarch64__)
#define WJ_INT_REGISTERS WJ_INT_REGISTERS_AARCH64
#define WJ_FRAME_FLOATS 64
#define WJ_FRAME_INT_RESULTS 192
#define WJ_FRAME_FLOAT_RESULTS 208
#define WJ_FRAME_LINK 240
#define WJ_FRAME_STACK 256
#else
#error "wasmjit supports x86-64 and AArch64 only"
#endif

#define WJ_TEXT_OF(x) #x
#define WJ_TEXT(x) WJ_TEXT_OF(x)

/* The registers of interrupted code. */
typedef struct {
    uintptr_t pc, sp, fp;
} wj_registers;

#if defined(__x86_64__)

#define WJ_TRAP_SIGNAL SIGILL
#define WJ_TRAP_INSTRUCTION_BYTES 4 /* the shortest form */

static inline wj_registers wj_context_registers(const ucontext_t *context)
{
    const greg_t *registers = context->uc_mcontext.gregs;
    return (wj_registers){(uintptr_t)registers[REG_RIP], (uintptr_t)registers[REG_RSP], (uintptr_t)registers[REG_RBP]};
}

/* Makes the interrupted thread go on at `target` with `status` as the landing point expects it. */
static inline void wj_context_redirect(ucontext_t *context, wj_registers target, int status)
{
    greg_t *registers = context->uc_mcontext.gregs;
    registers[REG_RIP] = (greg_t)target.pc;
    registers[REG_RSP] = (greg_t)target.sp;
    registers[REG_RBP] = (greg_t)target.fp;
    registers[REG_RAX] = status;
}

/* The return address in a frame record. */
static inline uintptr_t wj_return_address(uintptr_t saved)
{
    return saved;
}

/* The code of the trap instruction at pc (`llvm.ubsantrap`: ud1l code(%eax), %eax), or -1. */
static inline int wj_trap_instruction_code(const uint8_t *pc)
{
    if (pc[0] == 0x67 && pc[1] == 0x0f && pc[2] == 0xb9 && pc[3] == 0x40) {
        return pc[4];
    }
    if (pc[0] == 0x67 && pc[1] == 0x0f && pc[2] == 0xb9 && pc[3] == 0x00) {
        return 0; /* a displacement of 0 has no byte of its own */
    }
    return -1;
}

#define WJ_MARK_BYTES 7

/* How far behind `at` the landing is that the mark there tells of (compile/invoke.py); 0: there is no mark. */
static inline intptr_t wj_mark_distance(const uint8_t *at)
{
    static const uint8_t mark[] = {0x0f, 0x1f, 0x83}; /* nopl disp32(%rbx) */
    int32_t distance;
    if (memcmp(at, mark, sizeof mark) != 0) {
        return 0;
    }
    memcpy(&distance, at + sizeof mark, sizeof distance);
    return (intptr_t)sizeof mark + distance;
}

/* The stack and the frame of code that called, with a mark behind the call, what has its frame record at fp. */
static inline wj_registers wj_marked_caller(uintptr_t fp)
{
    return (wj_registers){0, fp + 2 * sizeof(uintptr_t), *(const uintptr_t *)fp};
}

#else /* aarch64 */

#define WJ_TRAP_SIGNAL SIGTRAP
#define WJ_TRAP_INSTRUCTION_BYTES 4
#define WJ_PSTATE_BTYPE UINT64_C(0xc00)

static inline wj_registers wj_context_registers(const ucontext_t *context)
{
    const mcontext_t *registers = &context->uc_mcontext;
    return (wj_registers){registers->pc, registers->sp, registers->regs[29]};
}

/* Makes the interrupted thread go on at `target` with `status` as the landing point expects it. */
static inline void wj_context_redirect(ucontext_t *context, wj_registers target, int status)
{
    mcontext_t *registers = &context->uc_mcontext;
    registers->pc = target.pc;
    registers->sp = target.sp;
    registers->pstate &= ~WJ_PSTATE_BTYPE; /* the fault may have been the first instruction behind an indirect branch */
    registers->regs[29] = target.fp;
    registers->regs[0] = (unsigned int)status;
}

/* The return address in a frame record: without the signature that compilers add to it where they protect branches. */
static inline uintptr_t wj_return_address(uintptr_t saved)
{
    __asm__("mov x30, %0\n\thint #7\n\tmov %0, x30" : "+r"(saved) : : "x30"); /* xpaclri; before Armv8.3 a nop */
    return saved;
}

/* The code of the trap instruction at pc (`llvm.ubsantrap`: brk #0x5500 | code), or -1. */
static inline int wj_trap_instruction_code(const uint8_t *pc)
{
    uint32_t instruction = (uint32_t)pc[0] | (uint32_t)pc[1] << 8 | (uint32_t)pc[2] << 16 | (uint32_t)pc[3] << 24;
    uint32_t immediate = (instruction >> 5) & 0xffff;
    if ((instruction & 0xffe0001fu) == 0xd4200000u && (immediate & 0xff00) == 0x5500) {
        return (int)(immediate & 0xff);
    }
    return -1;
}

#define WJ_MARK_BYTES 8

/* How far behind `at` the landing is that the mark there tells of (compile/invoke.py); 0: there is no mark. */
static inline intptr_t wj_mark_distance(const uint8_t *at)
{
    uint32_t mark[2]; /* movn xzr, #low half; movz xzr, #high half, lsl #48 */
    memcpy(mark, at, sizeof mark);
    if ((mark[0] & 0xffe0001fu) != 0x9280001fu || (mark[1] & 0xffe0001fu) != 0xd2e0001fu) {
        return 0;
    }
    return (int32_t)((mark[0] >> 5 & 0xffff) | (mark[1] >> 5 & 0xffff) << 16);
}

/* The stack and the frame of code that called, with a mark behind the call, what has its frame record at fp. What that one
 * leads to is a record that was made for the call, right below the frame. */
static inline wj_registers wj_marked_caller(uintptr_t fp)
{
    const uintptr_t *made = (const uintptr_t *)*(const uintptr_t *)fp;
    return (wj_registers){0, (uintptr_t)made + WJ_MARK_RECORD_BYTES, made[0]};
}

#endif
#endif
