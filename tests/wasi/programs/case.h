/* What a test case of preview 1 needs, without a C library: the raw calls, IS(), and results on standard output.
 *
 * A program holds the cases of one area and runs the one that its first argument names. A case that finds what it
 * does not expect says so on standard error and ends with exit code 1. Descriptors at the start: 0-2, 3 = "/" (may be
 * changed), 4 = "/ro" (read-only); see tests/wasi/test_cases.py for what is in them. */
#include <stddef.h>
#include <stdint.h>

enum { ROOT = 3, READ_ONLY = 4, FREE = 5 };

enum error {
    SUCCESS = 0, E2BIG = 1, EACCES = 2, EAGAIN = 6, EBADF = 8, EEXIST = 20, EFAULT = 21, EFBIG = 22, EILSEQ = 25,
    EINVAL = 28, EIO = 29, EISDIR = 31, ELOOP = 32, EMLINK = 34, ENAMETOOLONG = 37, ENOENT = 44, ENOSPC = 51,
    ENOSYS = 52, ENOTCONN = 53, ENOTDIR = 54, ENOTEMPTY = 55, ENOTSOCK = 57, ENOTSUP = 58, EOVERFLOW = 61, EPERM = 63,
    EROFS = 69, ESPIPE = 70, EXDEV = 75, ENOTCAPABLE = 76,
};

enum { FOLLOW = 1 };
enum { CREAT = 1, DIRECTORY = 2, EXCL = 4, TRUNC = 8 };
enum { APPEND = 1, DSYNC = 2, NONBLOCK = 4, RSYNC = 8, SYNC = 16 };
enum { SEEK_SET = 0, SEEK_CUR = 1, SEEK_END = 2 };
enum { ACCESS = 1, ACCESS_NOW = 2, MODIFY = 4, MODIFY_NOW = 8 };
enum { BLOCK_DEVICE = 1, CHARACTER_DEVICE = 2, IS_DIRECTORY = 3, IS_FILE = 4, IS_LINK = 7 };
enum { REALTIME = 0, MONOTONIC = 1, PROCESS_TIME = 2, THREAD_TIME = 3 };
enum { EVENT_CLOCK = 0, EVENT_READ = 1, EVENT_WRITE = 2 };
enum {
    RIGHT_DATASYNC = 1 << 0, RIGHT_READ = 1 << 1, RIGHT_SEEK = 1 << 2, RIGHT_SET_FLAGS = 1 << 3, RIGHT_TELL = 1 << 5,
    RIGHT_WRITE = 1 << 6, RIGHT_ALLOCATE = 1 << 8, RIGHT_CREATE_DIRECTORY = 1 << 9, RIGHT_OPEN = 1 << 13,
    RIGHT_READDIR = 1 << 14,
};
enum { READ = RIGHT_READ, WRITE = RIGHT_WRITE, BOTH = RIGHT_READ | RIGHT_WRITE };

typedef int32_t fd_t;
struct vector { const void *base; size_t size; };
struct fdstat { uint8_t filetype; uint16_t flags; uint64_t rights, inheriting; };
struct filestat { uint64_t dev, ino; uint8_t filetype; uint64_t nlink, size, atim, mtim, ctim; };
struct dirent { uint64_t next, ino; uint32_t namlen; uint8_t type; };
struct prestat { uint8_t tag; uint32_t name_size; };
struct event { uint64_t userdata; uint16_t error; uint8_t type; uint64_t bytes; uint16_t flags; };
struct subscription {
    uint64_t userdata;
    uint8_t type;
    union {
        struct { uint32_t id; uint64_t timeout, precision; uint16_t absolute; } clock;
        fd_t fd;
    };
};
_Static_assert(sizeof(struct fdstat) == 24 && sizeof(struct filestat) == 64 && sizeof(struct dirent) == 24, "witx");
_Static_assert(sizeof(struct subscription) == 48 && sizeof(struct event) == 32, "witx");

#define CALL_OF(module, name) __attribute__((import_module(#module), import_name(#name))) extern
#define CALL(name) CALL_OF(wasi_snapshot_preview1, name)
CALL(args_get) int args_get(char **, char *);
CALL(args_sizes_get) int args_sizes_get(size_t *, size_t *);
CALL(environ_get) int environ_get(char **, char *);
CALL(environ_sizes_get) int environ_sizes_get(size_t *, size_t *);
CALL(clock_res_get) int clock_res_get(uint32_t, uint64_t *);
CALL(clock_time_get) int clock_time_get(uint32_t, uint64_t, uint64_t *);
CALL(fd_advise) int fd_advise(fd_t, uint64_t, uint64_t, int);
CALL(fd_allocate) int fd_allocate(fd_t, uint64_t, uint64_t);
CALL(fd_close) int fd_close(fd_t);
CALL(fd_datasync) int fd_datasync(fd_t);
CALL(fd_fdstat_get) int fd_fdstat_get(fd_t, struct fdstat *);
CALL(fd_fdstat_set_flags) int fd_fdstat_set_flags(fd_t, int);
CALL(fd_fdstat_set_rights) int fd_fdstat_set_rights(fd_t, uint64_t, uint64_t);
CALL(fd_filestat_get) int fd_filestat_get(fd_t, struct filestat *);
CALL(fd_filestat_set_size) int fd_filestat_set_size(fd_t, uint64_t);
CALL(fd_filestat_set_times) int fd_filestat_set_times(fd_t, uint64_t, uint64_t, int);
CALL(fd_pread) int fd_pread(fd_t, const struct vector *, size_t, uint64_t, size_t *);
CALL(fd_prestat_get) int fd_prestat_get(fd_t, struct prestat *);
CALL(fd_prestat_dir_name) int fd_prestat_dir_name(fd_t, char *, size_t);
CALL(fd_pwrite) int fd_pwrite(fd_t, const struct vector *, size_t, uint64_t, size_t *);
CALL(fd_read) int fd_read(fd_t, const struct vector *, size_t, size_t *);
CALL(fd_readdir) int fd_readdir(fd_t, void *, size_t, uint64_t, size_t *);
CALL(fd_renumber) int fd_renumber(fd_t, fd_t);
CALL(fd_seek) int fd_seek(fd_t, int64_t, int, uint64_t *);
CALL(fd_sync) int fd_sync(fd_t);
CALL(fd_tell) int fd_tell(fd_t, uint64_t *);
CALL(fd_write) int fd_write(fd_t, const struct vector *, size_t, size_t *);
CALL(path_create_directory) int path_create_directory(fd_t, const char *, size_t);
CALL(path_filestat_get) int path_filestat_get(fd_t, int, const char *, size_t, struct filestat *);
CALL(path_filestat_set_times)
int path_filestat_set_times(fd_t, int, const char *, size_t, uint64_t, uint64_t, int);
CALL(path_link) int path_link(fd_t, int, const char *, size_t, fd_t, const char *, size_t);
CALL(path_open) int path_open(fd_t, int, const char *, size_t, int, uint64_t, uint64_t, int, fd_t *);
CALL(path_readlink) int path_readlink(fd_t, const char *, size_t, char *, size_t, size_t *);
CALL(path_remove_directory) int path_remove_directory(fd_t, const char *, size_t);
CALL(path_rename) int path_rename(fd_t, const char *, size_t, fd_t, const char *, size_t);
CALL(path_symlink) int path_symlink(const char *, size_t, fd_t, const char *, size_t);
CALL(path_unlink_file) int path_unlink_file(fd_t, const char *, size_t);
CALL(poll_oneoff) int poll_oneoff(const struct subscription *, struct event *, size_t, size_t *);
CALL(proc_exit) _Noreturn void proc_exit(int);
CALL(proc_raise) int proc_raise(int);
CALL(random_get) int random_get(void *, size_t);
CALL(sched_yield) int sched_yield(void);
CALL(sock_accept) int sock_accept(fd_t, int, fd_t *);
CALL(sock_recv) int sock_recv(fd_t, const struct vector *, size_t, int, size_t *, uint16_t *);
CALL(sock_send) int sock_send(fd_t, const struct vector *, size_t, int, size_t *);
CALL(sock_shutdown) int sock_shutdown(fd_t, int);

static size_t length(const char *text) {
    size_t size = 0;
    while (text[size]) size++;
    return size;
}

static inline int equal(const void *a, const void *b, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (((const char *)a)[i] != ((const char *)b)[i]) return 0;
    return 1;
}

static void print_to(fd_t fd, const char *text) {
    struct vector all = {text, length(text)};
    size_t written;
    fd_write(fd, &all, 1, &written);
}

static void print_number_to(fd_t fd, int64_t value) {
    char digits[24], *at = digits + sizeof digits;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    *--at = 0;
    do *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0) *--at = '-';
    print_to(fd, at);
}

/* A result that must be the same everywhere. */
static inline void show(const char *what, int64_t value) {
    print_to(1, what);
    print_to(1, " ");
    print_number_to(1, value);
    print_to(1, "\n");
}

static inline void show_bytes(const char *what, const void *bytes, size_t size) {
    struct vector parts[] = {{what, length(what)}, {" ", 1}, {bytes, size}, {"\n", 1}};
    for (int i = 0; i < 4; i++) fd_write(1, &parts[i], 1, &size);
}

static void require(const char *what, int64_t actual, int64_t expected) {
    if (actual == expected) return;
    print_to(2, what);
    print_to(2, " is ");
    print_number_to(2, actual);
    print_to(2, " instead of ");
    print_number_to(2, expected);
    print_to(2, "\n");
    proc_exit(1);
}

#define IS(actual, expected) require(#actual, (int64_t)(actual), (int64_t)(expected))
#define PATH(text) text, sizeof(text) - 1

static inline fd_t open_with(fd_t directory, const char *path, int oflags, uint64_t rights, int fdflags) {
    fd_t fd = -1;
    require(path, path_open(directory, FOLLOW, path, length(path), oflags, rights, rights, fdflags, &fd), SUCCESS);
    return fd;
}

static inline fd_t open(const char *path, int oflags, uint64_t rights) {
    return open_with(ROOT, path, oflags, rights, 0);
}

/* The error code of an attempt to open. */
static inline int try_open(fd_t directory, int follow, const char *path, int oflags, uint64_t rights) {
    fd_t fd;
    return path_open(directory, follow, path, length(path), oflags, rights, rights, 0, &fd);
}

static inline int read(fd_t fd, void *buffer, size_t size, size_t *count) {
    struct vector all = {buffer, size};
    return fd_read(fd, &all, 1, count);
}

static inline int write(fd_t fd, const char *text, size_t *count) {
    struct vector all = {text, length(text)};
    return fd_write(fd, &all, 1, count);
}

static inline uint64_t position(fd_t fd) {
    uint64_t at = 12345;
    require("fd_tell", fd_tell(fd, &at), SUCCESS);
    return at;
}

static inline uint64_t size_of(const char *path) {
    struct filestat status;
    require(path, path_filestat_get(ROOT, FOLLOW, path, length(path), &status), SUCCESS);
    return status.size;
}

static inline int type_of(const char *path) {
    struct filestat status;
    require(path, path_filestat_get(ROOT, 0, path, length(path), &status), SUCCESS);
    return status.filetype;
}

static inline int exists(const char *path) {
    struct filestat status;
    return path_filestat_get(ROOT, 0, path, length(path), &status) == SUCCESS;
}

struct test_case { const char *name; void (*run)(void); };
#define CASE(name) \
    static void name##_(void); \
    __attribute__((used, section("cases"))) static const struct test_case name##_case = {#name, name##_}; \
    static void name##_(void)
extern const struct test_case __start_cases[], __stop_cases[];

__attribute__((export_name("_start"))) void _start(void) {
    static char *arguments[16], bytes[4096];
    require("args_get", args_get(arguments, bytes), SUCCESS);
    for (const struct test_case *found = __start_cases; found < __stop_cases; found++) {
        size_t size = length(found->name) + 1;
        if (arguments[1] && equal(found->name, arguments[1], size)) {
            found->run();
            return;
        }
    }
    print_to(2, "no such case\n");
    proc_exit(2);
}
