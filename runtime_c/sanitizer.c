/* See sanitizer.h. Nothing here is instrumented. */
#include "sanitizer.h"

#ifdef __SANITIZE_THREAD__
#include "wj.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_SEGMENTS = 64, RETRY_NS = 1000000, LOOK_NS = 20000000, WAIT_HERE = 128 };

typedef int sigaction_function(int number, const struct sigaction *action, struct sigaction *before);

static struct {
    uintptr_t start, end;
} segments[MOST_SEGMENTS]; /* what the sanitizer's own code calls, and is */
static size_t segment_count;
static sigaction_function *system_sigaction;
static _Thread_local volatile bool sleeps;

static WJ_UNSANITIZED int find_segments(struct dl_phdr_info *module, size_t size, void *nothing)
{
    static const char *const names[] = {"libtsan", "libc.so", "ld-linux", "linux-vdso", "libgcc_s", "libstdc++"};
    (void)size;
    (void)nothing;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strstr(module->dlpi_name, names[i]) == NULL) {
            continue;
        }
        for (size_t at = 0; at < module->dlpi_phnum && segment_count < MOST_SEGMENTS; at++) {
            const ElfW(Phdr) *header = &module->dlpi_phdr[at];
            if (header->p_type == PT_LOAD && (header->p_flags & PF_X) != 0) {
                segments[segment_count].start = module->dlpi_addr + header->p_vaddr;
                segments[segment_count].end = module->dlpi_addr + header->p_vaddr + header->p_memsz;
                segment_count++;
            }
        }
    }
    return 0;
}

static WJ_UNSANITIZED __attribute__((constructor)) void begin(void)
{
    void *library = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    system_sigaction = (sigaction_function *)dlsym(library, "sigaction");
    (void)dl_iterate_phdr(find_segments, NULL);
}

WJ_UNSANITIZED int wj_sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    return system_sigaction(number, action, before);
}

WJ_UNSANITIZED bool wj_handler_may_act(void *context)
{
    uintptr_t pc = wj_context_registers(context).pc;
    bool is_inside = false;
    for (size_t i = 0; i < segment_count; i++) {
        is_inside |= pc >= segments[i].start && pc < segments[i].end;
    }
    if (!is_inside || sleeps) {
        return true;
    }
    int saved_errno = errno;
    if (wj_this_thread.has_timer) {
        struct itimerspec when;
        when.it_interval.tv_sec = when.it_interval.tv_nsec = when.it_value.tv_sec = 0;
        when.it_value.tv_nsec = RETRY_NS;
        (void)timer_settime(wj_this_thread.timer, 0, &when, NULL);
    }
    errno = saved_errno;
    return false;
}

static WJ_UNSANITIZED void sleep_on(const uint32_t *word, int64_t timeout_ns)
{
    struct timespec timeout = {0, timeout_ns < 0 || timeout_ns > LOOK_NS ? LOOK_NS : timeout_ns};
    sleeps = true;
    (void)syscall(SYS_futex, word, WAIT_HERE, 0, &timeout, NULL, 0);
    sleeps = false;
}

/* Shorter than it may be: Python's handlers are the sanitizer's, which calls them in a function that it knows. */
void wj_sleep_sanitized(const uint32_t *word, int64_t timeout_ns)
{
    sleep_on(word, timeout_ns);
    (void)usleep(1);
}
#else
typedef int wj_nothing_here; /* a file has to have something in it */
#endif
