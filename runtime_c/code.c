/* Protection of machine code pages. Mapping itself is done in Python (mmap); see wasmjit/runtime/code.py. */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

int wj_code_protect(uintptr_t start, uint64_t size_bytes, int executable)
{
    void *first = (void *)start;
    if (mprotect(first, size_bytes, executable ? PROT_READ | PROT_EXEC : PROT_READ) != 0) {
        return errno;
    }
    if (executable) {
        __builtin___clear_cache((char *)first, (char *)first + size_bytes);
    }
    return 0;
}
