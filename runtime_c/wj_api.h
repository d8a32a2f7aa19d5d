/* What Python may call in the C runtime. Plain declarations without directives: cffi reads this file as it is,
 * wj.h includes it. Every object but memories belongs to a wj_store and is freed by wj_store_free, never alone, and memories
 * live as long as a store that is a member: so no dangling pointer can stay behind in an instance context, table or
 * func-ref of the same store. */

typedef struct wj_store wj_store;
typedef struct wj_memory wj_memory;   /* starts with the abi.MEMORY fields */
typedef struct wj_table wj_table;     /* starts with the abi.TABLE fields */
typedef struct wj_func_ref wj_func_ref; /* abi.FUNC_REF */

/* ---- process ---- */
/* Installs the fault handlers once (idempotent). Returns 0 or an errno value: ESTALE if Python was finalized since. */
int wj_runtime_init(void);
/* PyObject of a callable(code: int, fault_address: int, pcs: tuple[int, ...]) -> BaseException instance, which makes
 * the exception raised for a trap. pcs: innermost first; return addresses are already adjusted to lie inside the call. */
void wj_set_trap_factory(uintptr_t callable);
/* PyObject of a callable(pcs) -> list of (file, function, line), one for each pc in wasm code: what tracebacks show. */
/* Not for exceptions of `exit_class`: the program ended, and the names of a large module take long to read. */
void wj_set_frame_describer(uintptr_t callable, uintptr_t exit_class);
/* PyObject of faulthandler.is_enabled: calls look whether its answer has changed, and if so put our handlers on top. */
void wj_watch_faulthandler(uintptr_t is_enabled);
/* Address of the table of builtins, in the order of abi.BUILTINS. */
uintptr_t wj_builtins(void);
/* Registers / forgets an executable range of generated code. Register returns 0 or an errno value. */
int wj_code_register(uintptr_t start, uintptr_t end);
/* addresses[i] = start + offsets[i] */
void wj_code_addresses(uint64_t *addresses, uint64_t start, const uint32_t *offsets, uint64_t count);
void wj_code_unregister(uintptr_t start);
void wj_code_forget(void *start); /* the same */
/* Makes whole pages readable and executable, or read-only; never writable. Returns 0 or an errno value. */
int wj_code_protect(uintptr_t start, uint64_t size_bytes, int executable);

/* ---- store ---- */
wj_store *wj_store_new(uint64_t max_wasm_stack_bytes);
/* A new reference to the base class of NativeStore, which owns a store (store_object.c); 0 on failure. */
uintptr_t wj_store_base(void);
/* Frees the store and everything made in it. Must not be running (check wj_store_is_running first): nothing happens
 * then. */
void wj_store_free(wj_store *store);
int wj_store_is_running(wj_store *store);
/* From now on nothing enters the store and nothing reads its memories. 1, and nothing happens, if it is running. */
int wj_store_close(wj_store *store);
/* On the thread that runs the store: whether it waits in a host function now, and memories may grow from other threads. */
void wj_store_lend(wj_store *store, int lent);
/* Limits for each single memory and table (as StoreLimits of wasmtime); UINT64_MAX is "no limit". Growth past them
 * fails (-1), creation returns NULL with *error EDQUOT. */
void wj_store_set_limits(wj_store *store, uint64_t max_memory_bytes, uint64_t max_table_elements, uint64_t max_total_bytes);
uint64_t wj_store_total_bytes(wj_store *store);

/* Ends the outermost call that runs now with an INTERRUPT trap; from any thread. 0 if none runs, else 1. */
int wj_store_interrupt(wj_store *store);
/* As that, if the call waits in a memory or its host functions do, on another thread; else 0. */
int wj_store_end_wait(wj_store *store);
/* Whether the wasm calls of this thread are to end: what a host function that blocks has to look at. */
int wj_is_interrupted(void);
/* On the thread that runs the store, outside of its wasm: takes an interrupt back, so that the call that runs goes on. */
void wj_store_forget_interrupt(wj_store *store);
/* For each outermost call from the next on; 0: none. */
void wj_store_set_timeout(wj_store *store, int64_t timeout_ns);
/* ppoll(2) on `count` struct pollfd at `descriptors`, without the GIL, that an interrupt ends with -EINTR; negative
 * timeout: none. Returns the number of ready ones, or a negative errno value. */
int wj_wait(uintptr_t descriptors, uint64_t count, int64_t timeout_ns);
/* PyObject of a callable() -> ticks, or 0: called when the epoch deadline is reached; what it raises passes through wasm.
 * PyObject of a callable(is_table, current, desired, maximum) -> bool, or 0: asked when wasm grows a memory (bytes) or
 * table (elements); no maximum is UINT64_MAX.
 * PyObject of a callable(address of the func-ref, exception or None) -> exception or None, or 0: told when an outermost call
 * from Python is over; what it returns or raises is raised in place of the exception or the result. References are taken. */
void wj_store_set_epoch_callback(wj_store *store, uintptr_t callable);
void wj_store_set_limiter(wj_store *store, uintptr_t callable);
void wj_store_set_call_ended(wj_store *store, uintptr_t callable);
/* The next call from Python raises this exception, unless another one waits for that already. A reference is taken. */
void wj_store_set_failure(wj_store *store, uintptr_t exception);
/* Adds 1 to an engine's epoch. */
void wj_epoch_increment(uint64_t *epoch);

/* ---- memories ---- */
/* 1 if `reservation_bytes` of address space can be reserved now. */
int wj_can_reserve(uint64_t reservation_bytes);
/* A memory with the store as its only member; or, with NULL for it, one of no store, which the caller has a reference on.
 * reservation_bytes: address space kept for the memory (0: only what it needs; the base then moves on growth);
 * guard_bytes: inaccessible space before and after. NULL on failure with *error an errno value. */
wj_memory *wj_memory_new(wj_store *store, uint64_t min_pages, uint64_t max_pages, uint32_t page_size_log2,
                         uint64_t reservation_bytes, uint64_t guard_bytes, int *error);
/* Makes a store, which nobody closes meanwhile, a member: its code may use the memory, traps where it leaves it, and keeps
 * it until the store is freed. It counts for the store's limits, and grows only as far as those of all members allow. 0,
 * also if it is one already, or an errno value: EDQUOT past a limit, EINVAL for a memory that moves. */
int wj_memory_join(wj_memory *memory, wj_store *store);
/* Has threads share a memory that nobody has seen yet: they may wait in it. 0, or EINVAL if it could move, or not grow to its
 * maximum where it is. */
int wj_memory_share(wj_memory *memory);
/* Whether code that counts on so much address space and so large guards may use it. */
int wj_memory_has_layout(const wj_memory *memory, uint64_t reservation_bytes, uint64_t guard_bytes);
void wj_memory_hold(wj_memory *memory);
/* Gives up a reference; with the last the memory is unmapped. */
void wj_memory_release(wj_memory *memory);
uintptr_t wj_memory_base(wj_memory *memory);
uint64_t wj_memory_size_bytes(wj_memory *memory);
/* Previous size in pages, or UINT64_MAX if the growth is refused. */
uint64_t wj_memory_grow(wj_memory *memory, uint64_t delta_pages);
/* A new reference to an object with the buffer protocol, which keeps the present contents mapped, also when the memory
 * moves and when the store is freed. Attributes: `address`, `size_bytes`. 0 on failure. */
uintptr_t wj_mapping_new(wj_memory *memory);
/* A new reference to the list of those mapping objects behind `Memory.view` that somebody uses; 0 on failure. */
uintptr_t wj_store_mappings(wj_store *store);
/* Sequentially consistent: load, store, add and compare-and-exchange (0 to 3) of so many bytes; `result`: what was there. 0,
 * or an errno value: EFAULT, outside; EINVAL, the address is no multiple of the size. */
int wj_memory_atomic(const wj_memory *memory, uint32_t operation, uint32_t size_bytes, uint64_t address, uint64_t operand,
                     uint64_t replacement, uint64_t *result);
/* memory.atomic.notify; errors as above. */
int wj_memory_notify(const wj_memory *memory, uint64_t address, uint32_t most, uint64_t *woken);
/* A new reference to the function that waits (atomic_wait.c); 0 on failure. */
uintptr_t wj_memory_waiter(void);
/* A new reference to the type that Memory is based on (memory_object.c); 0 on failure. */
uintptr_t wj_memory_base_type(void);
/* memcpy into / out of memory with bounds check: 0, or 1 if out of bounds (then nothing is written). */
int wj_memory_write(wj_memory *memory, uint64_t start, const void *source, uint64_t size_bytes);
int wj_memory_read(wj_memory *memory, uint64_t start, void *destination, uint64_t size_bytes);

/* ---- tables: elements are references as raw 64-bit values (func-ref address or externref handle; 0 is null) ---- */
wj_table *wj_table_new(wj_store *store, uint64_t min, uint64_t max, uint64_t init, int *error);
uintptr_t wj_table_elements(wj_table *table);
uint64_t wj_table_length(wj_table *table);
uint64_t wj_table_grow(wj_table *table, uint64_t delta, uint64_t init); /* UINT64_MAX if refused */
int wj_table_get(wj_table *table, uint64_t index, uint64_t *value);    /* 0, or 1 if out of bounds */
int wj_table_set(wj_table *table, uint64_t index, uint64_t value);
/* Sets all elements, of a table that no code has seen yet. */
void wj_table_set_all(wj_table *table, uint64_t reference);
/* Copies `count` references from `source` to table[start...]: 0, or 1 if out of bounds (then nothing is written). */
int wj_table_write(wj_table *table, uint64_t start, const uint64_t *source, uint64_t count);

/* ---- exceptions (exceptions.c) ---- */
/* PyObjects: the class of those exceptions of Python that wasm catches; a callable(record, one of those) -> address of an
 * exception, or None if it is not of this store; a callable(record, tag, address of what it carries, pcs) -> one of them. */
void wj_set_exception_hooks(uintptr_t class_object, uintptr_t to_wasm, uintptr_t to_python);
/* An exception with a tag (abi.TAG), on the thread that is in the store; 0: no memory for it. */
uintptr_t wj_exception_new(wj_store *store, uintptr_t tag);
/* From now on globals or tables may refer to exceptions. */
void wj_store_keep_exceptions(wj_store *store);
uint64_t wj_store_exception_bytes(wj_store *store);

/* ---- externrefs (externrefs.c) ---- */
/* A new reference to what knows the objects of the store's externrefs (always the same one). Keep it as an attribute of
 * the record, so that the garbage collector sees the objects. 0 on failure. */
uintptr_t wj_store_externrefs(wj_store *store);
/* What a sweep has to look at, as long as the store lives. `place`: of a global's value, or of a segment slot of an instance
 * context. 1: no memory. */
int wj_store_add_externref_root(wj_store *store, uintptr_t place, int is_segment);
void wj_table_set_has_externrefs(wj_table *table);

/* ---- zeroed 16-byte aligned storage that lives as long as the store: instance contexts, host globals, segments ---- */
void *wj_store_alloc(wj_store *store, uint64_t size_bytes);
/* An instance context: allocates size_bytes from the store, copies `template` (size_bytes long), then sets the magic,
 * store, builtins and instance fields (abi.VMCONTEXT). The offsets say where in the context the arrays of MEMORY_SLOT,
 * TABLE pointers and SEGMENT_SLOTs start (the builtins find memories, tables and segments through them). NULL if there
 * is no memory. */
void *wj_instance_new(wj_store *store, const void *template_bytes, uint64_t size_bytes, uint32_t memories_offset,
                      uint32_t tables_offset, uint32_t data_segments_offset, uint32_t element_segments_offset);

/* ---- instances: what is the same for all instances of a module, see wasmjit/runtime/plan.py ---- */
/* What initial memory contents are mapped from, copy-on-write: bytes `start`... of a memory. `start` and `size_bytes` count
 * whole pages of the host. NULL where the system does not have it. Free it after the last wj_memory_new_from_image;
 * memories do not need it. */
typedef struct wj_image wj_image;
wj_image *wj_image_new(uint64_t start, uint64_t size_bytes, const void *contents);
/* The same of contents that are in a file, at a whole page; it need not stay open, but must not be changed. */
wj_image *wj_image_of_file(int file, uint64_t offset_bytes, uint64_t start, uint64_t size_bytes);
void wj_image_free(wj_image *image);
/* As wj_memory_new, with the image's contents where it can be mapped (wj_instance_data finds out). */
wj_memory *wj_memory_new_from_image(wj_store *store, uint64_t min_pages, uint64_t max_pages, uint32_t page_size_log2,
                                    uint64_t reservation_bytes, uint64_t guard_bytes, const wj_image *image, int *error);
/* Offsets are in the instance context. Func-refs lie one behind the other. */
typedef struct {
    const void *template_bytes;
    uint64_t size_bytes;
    uint32_t imported_functions_offset, imported_function_count;
    uint32_t imported_globals_offset, imported_global_count;
    uint32_t memories_offset, memory_count;
    uint32_t tables_offset, table_count;
    uint32_t func_refs_offset, func_ref_count;
    uint32_t data_segments_offset, element_segments_offset;
} wj_instance_plan;
/* Writes the func-refs of a template but for their vmctx: `count` of them at `references`, of `functions` of the module's
 * index space, of which the first `imported_count` are imports. `table` is as LoadedCode.functions: code of `defined_count`
 * functions, then what tail calls take. Index space and types have their types by index. 1 for an index out of range,
 * which only a forged file has. */
int wj_template_func_refs(void *references, const uint32_t *functions, uint32_t count, uint32_t imported_count,
                          const uint64_t *table, uint32_t defined_count, const uint32_t *function_types,
                          const uint32_t *type_ids, uint32_t type_count);
/* A context: the template with everything of this instance but segments. `words` are addresses: of imported func-refs and
 * globals, then of all memories and tables, in the order of their index spaces. NULL if there is no memory. */
void *wj_instance_make(wj_store *store, const wj_instance_plan *plan, const uint64_t *words);
/* `mode`: 0 passive, 1 active, 2 declarative. `references`: context offsets of func-refs, with the lowest bit set of
 * pointers to one; UINT32_MAX is null. */
typedef struct {
    uint32_t mode, table;
    uint64_t start, count;
    const uint32_t *references;
} wj_element_plan;
typedef struct {
    uint32_t segment, memory;
    uint64_t start;
    uint32_t is_whole; /* nothing else was in that memory before: zeros need not be written */
} wj_data_plan;
/* How far segments are run; zeros at first. */
typedef struct {
    uint64_t segment, done;
} wj_segment_progress;
/* Evaluates all segments, then runs the active ones in order, up to one that does not fit. 0: done, else a SEGMENT code of
 * abi.py: MORE after some milliseconds, to be called again. Data of a memory that was made from `image` (or NULL) are
 * there already. */
int wj_instance_elements(void *context, const wj_element_plan *segments, uint32_t count, wj_segment_progress *at);
int wj_instance_data(void *context, const wj_data_plan *segments, uint32_t count, const wj_image *image,
                     wj_segment_progress *at);

/* ---- function boundary ---- */
/* What a function type is to C. Types are strings, one letter a value: i i32, I i64, f f32, F f64, V v128 (16 bytes in
 * Python), u funcref, e externref, r reference as a raw unsigned int in Python. Equal types have the same signature, as
 * long as somebody holds it; then its id, at least 1, is not used again. Each of these gives a reference, to be released;
 * NULL with errno EINVAL for any other letter or more than 1000 of them, ENOMEM, EOVERFLOW when there are no ids left. */
typedef struct wj_signature wj_signature;
wj_signature *wj_signature_hold(const char *params, const char *results);
/* Of a type some of whose references are to functions of one type, or are never null: for each value, parameters first, the
 * signature of that type or NULL, and 1 or 0. */
wj_signature *wj_signature_hold_of(const char *params, const char *results, wj_signature *const *types,
                                   const uint8_t *non_null);
/* Writes these again, as many as there are values; the signature holds the types. */
void wj_signature_references(const wj_signature *signature, wj_signature **types, uint8_t *non_null);
wj_signature *wj_signature_of_id(uint32_t id); /* NULL: nobody holds it */
/* What a type of a recursion group is made of. `types` and `siblings` say for each value, parameters first, what it is a
 * reference to: a signature or NULL, or the position of one of the group, plus 1, or 0. */
typedef struct {
    const char *params, *results;
    wj_signature *const *types;
    const uint32_t *siblings;
    const uint8_t *non_null;
    const wj_signature *supertype; /* NULL: none, or */
    uint32_t super_sibling; /* as siblings: one before it */
    uint32_t is_final;
} wj_group_member;
/* The signatures of a group that is not a plain function type by itself, each to be released. Groups are equal if their
 * `serial` is, which is not 0. 0 or an errno value; then there are none. */
int wj_group_hold(uint64_t serial, const wj_group_member *of, uint32_t count, wj_signature **members);
/* The serial of its group, 0 if it is of none; writes its position. */
uint64_t wj_signature_group(const wj_signature *signature, uint32_t *position);
void wj_signature_release(const wj_signature *signature);
uint32_t wj_signature_id(const wj_signature *signature);
/* Writes its letters, parameters first, and a 0 behind (at most 2001 bytes); the number of parameters. */
uint32_t wj_signature_letters(const wj_signature *signature, char *letters);
/* Many at once, of zeroed `signatures`; `letters` has parameters and results of one behind the other, each ended by a 0. 0 or
 * an errno value; those up to there are held then. Release takes NULLs. */
int wj_signatures_hold(const char *letters, uint64_t count, wj_signature **signatures, uint32_t *ids);
void wj_signatures_release(uint64_t count, wj_signature **signatures);
/* For tests: how many there are; and that no id up to `last` is given out from now on. */
uint64_t wj_signature_count(void);
void wj_signature_skip_ids(uint32_t last);
/* Makes a func-ref that calls `callable` (PyObject*, a reference is taken until the store is freed, as is one on the
 * signature). Its type id is the signature's.
 * flags (abi.py): CALLER: pass the calling instance context's address (int, 0 if none) as the first argument;
 *   UNCHECKED: call with one argument (after that), a list of raw slots (ints, the bits; a v128 takes two, low half first),
 *   expects a sequence of such; CALLER_OBJECT: pass a Caller as the first argument.
 * A result count of 1 takes the value itself, more take a sequence, 0 takes None. `code`: a trampoline of its signature, or
 * 0. `native`: the C function that a trampoline of that kind calls. NULL on failure (MemoryError). */
wj_func_ref *wj_host_func_new(wj_store *store, uintptr_t callable, const wj_signature *signature, uint32_t flags,
                              uintptr_t code, uintptr_t native);
/* Gives a host function that was made without a trampoline one; 0 if it has one. */
int wj_host_func_set_code(wj_func_ref *func_ref, uintptr_t code);
/* PyObject of a callable(record, letter, value, "parameter 2") -> bits as int, for values that are not simply numbers, which
 * raises TypeError or OverflowError; and of a callable(record, letter, bits) -> object for references that are not null. */
void wj_set_converters(uintptr_t to_bits, uintptr_t from_bits);
/* PyObject of a callable(record, context address) -> Caller. */
void wj_set_caller_factory(uintptr_t callable);
/* PyObject of a weakref to the store's StoreRecord; taken over by the store. */
void wj_store_set_record(wj_store *store, uintptr_t reference);
/* A new reference to the base class of TypedFunc (0) or Func (1); what their methods do is in callable.c. 0 on failure. */
uintptr_t wj_callable_base(int is_func);
/* To be called once for each class made of them. */
void wj_callable_finish_class(uintptr_t class_object);
/* What the C function of a `reverse` trampoline is given: lives for ever, and refuses calls once the store is closed. */
typedef struct wj_target wj_target;
wj_target *wj_native_target_new(wj_store *store, wj_func_ref *func_ref, const wj_signature *signature);
/* A new reference to the exception that ended a call made by C, or 0; it is not kept any more. */
uintptr_t wj_store_take_failure(wj_store *store);
/* Small pieces of code that call `code` with `target` in the register of LLVM's `nest` parameter: writes `count` of them, 16
 * bytes each, which read the address pairs (target, code) at `distance_bytes` behind them. */
void wj_write_thunks(uint8_t *where, uint64_t count, uint64_t distance_bytes);
/* Where functions without code jump to, with their position in the function table in eax (x86-64) or w16 (AArch64). They are
 * interpreted, or, where the table's header has no interpreter, or it refuses them, its resolver is called: a Python callable
 * that gets the position, has code made, and returns its address. */
uint64_t wj_codeless_stub_address(void);
/* ---- the interpreter (interpret.h) ---- */
/* What it has to know of a module; Python keeps everything that this points to. Offsets are in the instance context. */
typedef struct {
    const uint8_t *wasm;
    const uint64_t *bodies;            /* by position in the function table: offset of the body in the module; 0: compiled only */
    const uint32_t *function_types;    /* by function index: its type */
    const wj_signature *const *types;  /* held by Python; NULL: not of a function */
    const uint8_t *global_types;       /* value types, imports first */
    const uint32_t *func_ref_offsets;  /* by function index: of its func-ref, or of an import's address of one */
    uint32_t function_count;           /* in the function table */
    uint32_t imported_function_count, imported_global_count;
    uint32_t imported_functions_offset, imported_globals_offset, globals_offset, memories_offset, tables_offset;
    const uint8_t *memory_kinds;       /* by memory: 1: addresses of 64 bits, 2: accesses are compared with the size */
    const uint8_t *table_kinds;        /* by table: 1: indices of 64 bits */
    uint32_t has_memory;
    uint64_t guard_bytes;   /* what ends so far behind an address at the most needs no check: it faults in the guard */
    int32_t budget;         /* calls and iterations of a function until Python is told that it is hot, */
    uint32_t patient;       /* 1: but seldom (WJ_QUESTION_INTERVAL_NS) */
    uint64_t stubs_address; /* what the function table has at first, one behind the other */
    uint32_t stub_bytes;
    uint32_t canonical_nans;  /* 1: those that arithmetic makes */
    uint32_t vector_choice;   /* which texts vector instructions have (wasmjit/stencils/vectors.py) */
    uint32_t counts_fuel;     /* 1: code takes fuel, */
    uint32_t looks_at_epochs; /* 1: and at the engine's epoch */
    uint32_t has_stencils;  /* 1: functions are translated to native code (stencil.h), where that is possible */
    uint32_t register_seed; /* for tests: not 0: slots are in registers at random */
} wj_interpreter_plan;
typedef struct wj_interpreter wj_interpreter;
/* In the header of the function table lie the addresses of this, of the reporter, a callable(position, loop_offset,
 * asked_by) -> address of code that goes on from that loop, or 0, for hot functions and loops, and of the resolver. */
wj_interpreter *wj_interpreter_new(const wj_interpreter_plan *plan); /* NULL: no memory */
void wj_interpreter_free(wj_interpreter *interpreter);
/* What became of a function: bytes of native code (stencil.h), 0 if it is interpreted, and what translating it took, 0 if it
 * was not called. */
typedef struct {
    uint64_t code_bytes, nanoseconds;
} wj_translation;
/* By position in the function table; `translations` is all 0 before. */
void wj_interpreter_report(const wj_interpreter *interpreter, wj_translation *translations);
/* There is code that the function at this position goes on in where it asks: it is to ask as soon as its budget is used. */
void wj_interpreter_tell(wj_interpreter *interpreter, uint32_t position);
/* Nobody asks in this time, but who was told: there would be no answer, and asking waits for the GIL. 0: whoever wants to. */
void wj_hold_questions(int64_t nanoseconds);
/* What there is of the functions of a module that are translated, and the processor time that took: to the interpreter's
 * words, and from these to native code. `table_bytes`: beside the code, for addresses in it. */
typedef struct {
    uint64_t function_count, native_count, instruction_count;
    uint64_t word_bytes, code_bytes, table_bytes;
    uint64_t word_ns, code_ns;
} wj_translated_module;
/* For measurements, while nothing runs; `total` is all 0 before. The second translates all that are not first. */
void wj_interpreter_measure(const wj_interpreter *interpreter, wj_translated_module *total);
void wj_interpreter_translate_all(wj_interpreter *interpreter, wj_translated_module *total);
/* The function that an address of a backtrace belongs to, and the offset in the module; UINT32_MAX: none. */
uint32_t wj_interpreter_find(wj_interpreter *interpreter, uintptr_t pc, uint32_t *offset);

/* ---- types of objects (wasmjit/runtime/object_types.py) ---- */
/* A type: its kind (abi.GC_STRUCT, GC_ARRAY, 0: of functions), the index of its supertype, UINT32_MAX: none; and what it has
 * of arrays of the module. */
typedef struct {
    uint32_t kind, supertype, size_bytes;
    uint32_t first_traced, traced_count;
    uint32_t first_field, field_count;
} wj_gc_layout;
/* Those of a module, the same for all of its instances. */
typedef struct {
    uint32_t count;
    const uint32_t *ids;
    const wj_gc_layout *layouts;
    const uint32_t *traced;      /* abi.GC_TRACED_... */
    const uint32_t (*fields)[2]; /* offset and size, in bytes */
} wj_gc_types;
/* The kind of the object that a reference is to, and its type's id. */
uint32_t wj_gc_type_of(const wj_store *store, uint64_t word, uint32_t *type_id);
/* Whether the type with an id is the other one, or was declared to be below it. */
int wj_type_matches_id(uint32_t found, uint32_t wanted);
/* Makes the heap of a store, if it has none, in so much address space: at least 129 MiB, at most 4 GiB. 0 or an errno value. */
int wj_gc_make_heap(wj_store *store, uint64_t reserved_bytes);
/* Gives an instance the descriptors of its types, in a store that has a heap. 0 or an errno value. */
int wj_gc_describe_types(wj_store *store, void *context, const wj_gc_types *types);
/* For objects that Python makes: the descriptor of a type that the store's keepalive holds (there is a heap), and a new object of zeros, with
 * references held. 0: there is no room, or another thread runs the store, or it is closed, or a signal is being handled. */
uint32_t wj_gc_describe_type(wj_store *store, uint32_t type_id, uint32_t kind, uint32_t size_bytes, uint32_t supertype,
                             const uint32_t *traced, uint32_t traced_count);
uint64_t wj_gc_new(wj_store *store, uint32_t descriptor, uint64_t length, uint64_t size_bytes);
/* Collects, perhaps only if it is time. 0; EBUSY as above, or EAGAIN: somebody has references in hands. */
int wj_gc_run(wj_store *store, int is_due_only);
void wj_store_set_gc_limit(wj_store *store, uint64_t most_bytes);
typedef struct {
    uint64_t live_bytes, heap_bytes, collections;
    int64_t longest_pause_ns;
} wj_gc_figures;
void wj_gc_statistics(const wj_store *store, wj_gc_figures *figures);
/* For tests: has every allocation collect in heaps that are made from now on; and the offset of an object that must not be as
 * it is, or 0. */
void wj_gc_stress(int is_stressed);
uint32_t wj_gc_verify(const wj_store *store);

/* ---- what takes evaluation when an instance is made (wasmjit/runtime/constant_code.py) ---- */
/* A value, of a kind of abi.py (CONSTANT_...), and the offset in the instance context of the global that gets it; 0: none. */
typedef struct {
    uint32_t kind, from, to;
} wj_constant;
/* The constant functions of a module, for all of its instances. */
typedef struct {
    const wj_gc_types *types;     /* NULL: of functions only */
    const uint8_t *bodies;        /* one behind the other, of instructions only, */
    const uint32_t *starts;       /* which begin there */
    const uint8_t *global_bytes;  /* of the values of globals, imports first */
    uint32_t imported_global_count, globals_offset, imported_globals_offset;
    uint32_t imported_function_count;
    const uint32_t *func_ref_offsets; /* by function; of an import, of its address */
} wj_constant_code;
typedef struct {
    const wj_constant_code *code; /* NULL: no value is COMPUTED */
    void *context;
    const wj_constant *steps;
    uint64_t count, done; /* in order */
    uint64_t *results;    /* of the constant functions, of which none gives a vector */
    uint64_t *stack;      /* with room for the operands of one, 16 bytes each */
} wj_constants;
void wj_constants_run(wj_constants *constants);
/* As code of a function without parameters and results, whose context is a wj_constants: so it has to be called if a value is
 * COMPUTED, which may trap. */
uint64_t wj_constants_code(void);

/* A new reference to the store's roots object (always the same one): it shows the garbage collector the callables of the
 * store's host functions. Keep it as an attribute of the Python object that owns the store, then cycles through host
 * functions are collected. 0 on failure. */
uintptr_t wj_store_roots(wj_store *store);
void wj_decref(uintptr_t object); /* takes the GIL */

/* ---- WASI (wasi.c): what C may do for a program without Python. Python writes it, and keeps it as long as the store may use
 * it. ---- */
/* A guest's descriptor number. `operations` are bits of wj_wasi.h; `fdstat` as preview 1 has it. */
typedef struct {
    uint32_t operations;
    int32_t host_fd;
    uint8_t fdstat[24];
    int64_t position;     /* C's own: where the program is, if that is known; else the host knows */
    uint32_t is_known;
    uint32_t is_elsewhere; /* the host's own position is another */
} wj_wasi_descriptor;
/* Strings one behind the other, each with a 0 behind it. */
typedef struct {
    uint32_t count, size_bytes;
    const char *bytes;
} wj_wasi_strings;
typedef struct {
    uint32_t operations; /* those that are about no descriptor */
    uint32_t descriptor_count;
    wj_wasi_descriptor *descriptors;
    wj_wasi_strings arguments, environment;
    uint32_t memory_count; /* how many were added; the last ones are there */
    struct {
        const void *instance;
        const wj_memory *memory;
    } memories[8];
    uint32_t random_left, random_generation; /* C's own: of these bytes, the last ones, and in which process */
    uint8_t random[2048];
} wj_wasi;
/* The functions of the store's WASI use this from now on; NULL: all of them call Python. */
void wj_store_set_wasi(wj_store *store, wj_wasi *wasi);
/* Writes a row, of those that there are; `fdstat` may be NULL if no operation is allowed. */
void wj_wasi_write(wj_wasi *wasi, uint32_t number, int host_fd, uint32_t operations, const uint8_t *fdstat);
/* Lets the host know what C knows better of a descriptor: its position. */
void wj_wasi_settle(wj_wasi *wasi, uint32_t number);
/* openat2(2) of a path below a directory: a descriptor, or a negative errno value: -EXDEV if it leads outside. */
int wj_open_beneath(int directory_fd, const char *path, uint64_t flags, uint64_t mode);
/* The memory that code of this instance context calls `memory`; of the same store. Nothing happens for one that moves. */
void wj_wasi_add_memory(wj_wasi *wasi, uintptr_t instance, const wj_memory *memory);
/* The code of a function, as that of a host function; by position in WJ_WASI_FUNCTIONS. */
uintptr_t wj_wasi_function(uint32_t position);

/* ---- validation (validate.h): a module that is valid but for its bodies. Types are the binary format's codes, and for
 * references to what has a type: `reference`, or with WJ_TYPE_NON_NULL. ---- */
typedef struct {
    uint32_t first; /* of `values`: parameters, then results */
    uint32_t param_count, result_count;
    uint32_t reference; /* the nullable type of references to it, by the lowest index of an equal type */
    uint32_t supertype; /* the lowest index of an equal type; UINT32_MAX: none */
    uint32_t is_function, needs_gc;
} wj_checked_type;
typedef struct {
    uint32_t element, address;
} wj_checked_table;
typedef struct {
    uint32_t content, is_mutable;
} wj_checked_global;
typedef struct {
    const uint8_t *wasm;
    uint64_t wasm_bytes;
    const uint64_t *bodies; /* by position: where it begins and ends in the module */
    const wj_checked_type *types;
    const uint32_t *values;
    const uint32_t *functions;  /* by index: type index */
    const uint8_t *is_referenced; /* by function index */
    const wj_checked_table *tables;
    const uint32_t *memories; /* address types */
    const wj_checked_global *globals;
    const uint32_t *element_segments; /* types */
    uint32_t type_count, function_count, imported_function_count, table_count, memory_count, global_count;
    uint32_t element_segment_count, data_count, has_data_count;
    uint32_t features; /* that bodies may use */
} wj_checked_module;
typedef struct {
    uint32_t instruction_count, needed, deepest_stack, verdict;
} wj_body_facts;
/* Of the opcode table that this was built from (wasm/validator_rows.py). */
uint32_t wj_rows_checksum(void);
/* Of the sources of that table when this was built (wasm/table_sources.py); 0: wj_rows.h was of another one. */
uint32_t wj_table_sources_checksum(void);
/* Looks at the bodies from position `first` on, without the GIL: the bits of wj_rows.h (0: look again) in `verdicts` and,
 * if that is not NULL, `facts`, both by position. Returns the position to go on from: after some milliseconds, before `end`. */
uint32_t wj_check_bodies(const wj_checked_module *module, uint32_t first, uint32_t end, uint8_t *verdicts, wj_body_facts *facts);
