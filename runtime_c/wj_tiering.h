/* Code that is missing or could be better: tiering.c, and the interpreter (interpret.h) as others see it. */
#ifndef WJ_TIERING_H
#define WJ_TIERING_H

#include "wj_base.h"
#include "wj_entry.h"

WJ_INTERNAL void wj_codeless_stub(void);
/* Called by wj_codeless_stub: runs the function at this position of the caller's function table. 0; or, where it is not
 * interpreted, the code that is to be run instead. */
WJ_INTERNAL uint64_t wj_interpret(uint32_t position, wj_frame *frame);
/* Asks Python for the code of the function at this position of the function table; leaves if there is none. */
WJ_INTERNAL uint64_t wj_lazy_resolve(void *vmctx, uint32_t position, void *frame_address);
/* Tells Python of a hot function, from below wasm, and what it runs in (WJ_ASKED_BY_...); the address of code to go on in,
 * or 0. */
WJ_INTERNAL uint64_t wj_report_hot(void *vmctx, uint32_t position, uint32_t loop_offset, uint32_t asked_by);
/* What a function in code from stencils does next: goes on from its loop in this code, unless it is 0; and begins so many
 * loops before it asks again. In two registers, which is what such code expects. */
typedef struct {
    uint64_t code;
    uint64_t budget;
} wj_hot_answer;
WJ_INTERNAL wj_hot_answer wj_report_native(void *vmctx, uint32_t position, uint32_t loop_offset);
/* Whether this thread may tell Python of something hot now: it takes the GIL, which others may hold for milliseconds. */
WJ_INTERNAL bool wj_may_ask(void);
/* The same for what runs this function, which may have been told that there is an answer. */
WJ_INTERNAL bool wj_may_ask_of(struct wj_interpreted *function);
/* Whether pc lies in the interpreter's loop: one activation stands behind each such pc of a stack. */
WJ_INTERNAL bool wj_in_interpreter(uintptr_t pc);
/* Gives back what deep recursion took, where nothing of the store runs; and all of it. */
WJ_INTERNAL void wj_interpreter_stack_trim(wj_store *store);
WJ_INTERNAL void wj_interpreter_stack_free(wj_store *store);

#endif
