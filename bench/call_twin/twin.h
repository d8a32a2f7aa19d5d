/* What cffi may call of the twin: plain declarations, cffi reads this file as it is. */

/* Through cffi itself, as a package that wraps a C library with it does. The GIL is released around each. */
void twin_nothing(void);
int32_t twin_add(int32_t a, int32_t b);
/* Calls the callbacks that cffi makes of Python functions `count` times. */
void twin_loop_callback_nothing(int32_t count);
int32_t twin_loop_callback_add(int32_t count);
/* Calls twin_add through a pointer that the compiler cannot see through. */
int32_t twin_loop_native(int32_t count);
/* The same with any function of that type at this address. */
int32_t twin_loop_address(uintptr_t function, int32_t count);
/* Work for a thread: some arithmetic that takes `count` steps, one after the other. */
uint32_t twin_spin(uint32_t count);
/* sums[i] = a[i] + b[i], with one call through a pointer for each element. */
void twin_map_add(const int32_t *a, const int32_t *b, int32_t *sums, int64_t count);

/* By hand against the CPython API: what the cffi forms would cost without cffi. */
/* A new reference to METH_FASTCALL builtin `which` (twin.c: BUILTINS), or 0. */
uintptr_t twin_builtin(uint32_t which);
/* Calls the Python callable at this address `count` times; with `release` the GIL is released between calls. */
int32_t twin_loop_python_nothing(uintptr_t callable, int32_t count, int release);
int32_t twin_loop_python_add(uintptr_t callable, int32_t count, int release);

/* Where native code of others can be found. */
uintptr_t twin_add_address(void);
