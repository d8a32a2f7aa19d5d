/* For builds under ThreadSanitizer (tools/tsan.py). It keeps a signal until the thread next calls something of the C library's, and
 * generated code calls nothing. So our handlers are installed behind its back, and act only where they do not interrupt the
 * sanitizer itself: those that do have to come again. In other builds nothing of this is left. */
#ifndef WJ_SANITIZER_H
#define WJ_SANITIZER_H

#include "wj_base.h"

#include <signal.h>

#ifdef __SANITIZE_THREAD__
/* Of handlers, before they know that they may act. */
#define WJ_UNSANITIZED __attribute__((noinline, no_sanitize_thread))
WJ_INTERNAL int wj_sigaction(int number, const struct sigaction *action, struct sigaction *before);
/* False: the handler is called again in a millisecond, if this thread has a timer. */
WJ_INTERNAL bool wj_handler_may_act(void *context);
WJ_INTERNAL void wj_sleep_sanitized(const uint32_t *word, int64_t timeout_ns);
#else
#define WJ_UNSANITIZED
#define wj_sigaction sigaction
#define wj_handler_may_act(context) true
#endif

#endif
