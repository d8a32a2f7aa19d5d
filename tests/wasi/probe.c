/* Calls preview 1 functions directly, as the arguments say, and prints each error code and result: the test suite runs
 * it under wasmjit and under another implementation and compares. "-" as an operand stands for an empty string. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

static char **next;
static uint8_t buffer[65536];

static long long number(void) { return *next ? strtoll(*next++, NULL, 0) : 0; }

static char *text(void) {
    char *operand = *next ? *next++ : "-";
    return strcmp(operand, "-") ? operand : "";
}

static void print_bytes(const uint8_t *bytes, size_t size) {
    putchar(' ');
    for (size_t i = 0; i < size; i++) printf(bytes[i] > 32 && bytes[i] < 127 ? "%c" : "\\%02x", bytes[i]);
}

static void print_stat(const __wasi_filestat_t *status) {
    printf(" type %d", status->filetype);
    if (status->filetype != __WASI_FILETYPE_DIRECTORY)
        printf(" links %d size %lld", (int)status->nlink, (long long)status->size);
    printf(" mtime %lld", (long long)(status->mtim < 2000000000000000LL ? status->mtim : 0));
}

static int read_or_write(const char *operation, __wasi_fd_t fd, size_t *size) {
    int writes = strstr(operation, "write") != NULL, positioned = operation[0] == 'p';
    if (writes) {
        char *data = text();
        *size = strlen(data);
        memcpy(buffer, data, *size);
    } else {
        *size = (size_t)number();
    }
    /* The empty first vector must not end it. (An implementation may stop after the first that is not empty.) */
    __wasi_ciovec_t out[2] = {{buffer, 0}, {buffer, *size}};
    __wasi_iovec_t in[2] = {{buffer, 0}, {buffer, *size}};
    if (positioned) {
        __wasi_filesize_t offset = (__wasi_filesize_t)number();
        return writes ? __wasi_fd_pwrite(fd, out, 2, offset, size) : __wasi_fd_pread(fd, in, 2, offset, size);
    }
    return writes ? __wasi_fd_write(fd, out, 2, size) : __wasi_fd_read(fd, in, 2, size);
}

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int read_directory(__wasi_fd_t fd, __wasi_dircookie_t cookie) {
    size_t used = 0, count = 0;
    char *names[64];
    int error = __wasi_fd_readdir(fd, buffer, sizeof buffer, cookie, &used);
    if (error) return error;
    for (size_t at = 0; at + sizeof(__wasi_dirent_t) <= used && count < 64;) {
        __wasi_dirent_t entry;
        memcpy(&entry, buffer + at, sizeof entry);
        names[count] = malloc(entry.d_namlen + 4);
        sprintf(names[count++], "%.*s:%d", (int)entry.d_namlen, (char *)buffer + at + sizeof entry, entry.d_type);
        at += sizeof entry + entry.d_namlen;
    }
    qsort(names, count, sizeof *names, compare);
    for (size_t i = 0; i < count; i++) printf(" %s", names[i]);
    return 0;
}

static int path_operation(const char *operation, __wasi_fd_t fd) {
    __wasi_filestat_t status;
    size_t size = 0;
    int error;
    if (!strcmp(operation, "open")) {
        __wasi_lookupflags_t follow = (__wasi_lookupflags_t)number();
        char *path = text();
        __wasi_oflags_t oflags = (__wasi_oflags_t)number();
        __wasi_rights_t rights = (__wasi_rights_t)number();
        __wasi_fd_t opened = 0;
        error = __wasi_path_open(fd, follow, path, oflags, rights, rights, (__wasi_fdflags_t)number(), &opened);
        if (!error) printf(" fd %d", opened);
        return error;
    }
    if (!strcmp(operation, "pathstat")) {
        __wasi_lookupflags_t follow = (__wasi_lookupflags_t)number();
        error = __wasi_path_filestat_get(fd, follow, text(), &status);
        if (!error) print_stat(&status);
        return error;
    }
    if (!strcmp(operation, "pathtimes")) {
        char *path = text();
        __wasi_timestamp_t accessed = (__wasi_timestamp_t)number(), modified = (__wasi_timestamp_t)number();
        return __wasi_path_filestat_set_times(fd, 1, path, accessed, modified, (__wasi_fstflags_t)number());
    }
    if (!strcmp(operation, "mkdir")) return __wasi_path_create_directory(fd, text());
    if (!strcmp(operation, "unlink")) return __wasi_path_unlink_file(fd, text());
    if (!strcmp(operation, "rmdir")) return __wasi_path_remove_directory(fd, text());
    if (!strcmp(operation, "symlink")) {
        char *target = text();
        return __wasi_path_symlink(target, fd, text());
    }
    if (!strcmp(operation, "rename") || !strcmp(operation, "link")) {
        char *path = text();
        __wasi_fd_t to = (__wasi_fd_t)number();
        return *operation == 'r' ? __wasi_path_rename(fd, path, to, text()) : __wasi_path_link(fd, 0, path, to, text());
    }
    if (!strcmp(operation, "readlink")) {
        error = __wasi_path_readlink(fd, text(), buffer, sizeof buffer, &size);
        if (!error) print_bytes(buffer, size);
        return error;
    }
    fprintf(stderr, "probe: unknown operation %s\n", operation);
    exit(2);
}

static int descriptor_operation(const char *operation, __wasi_fd_t fd) {
    __wasi_filestat_t status;
    __wasi_filesize_t position = 0;
    __wasi_fdstat_t fdstat;
    __wasi_prestat_t prestat;
    size_t size = 0;
    int error;
    if (strstr(operation, "read") == operation + (*operation == 'p') && strcmp(operation, "readdir") &&
        strcmp(operation, "readlink")) {
        error = read_or_write(operation, fd, &size);
        if (!error) print_bytes(buffer, size);
    } else if (!strcmp(operation, "write") || !strcmp(operation, "pwrite")) {
        error = read_or_write(operation, fd, &size);
        if (!error) printf(" %zu", size);
    } else if (!strcmp(operation, "seek")) {
        __wasi_filedelta_t offset = number();
        error = __wasi_fd_seek(fd, offset, (__wasi_whence_t)number(), &position);
        if (!error) printf(" %lld", (long long)position);
    } else if (!strcmp(operation, "tell")) {
        error = __wasi_fd_tell(fd, &position);
        if (!error) printf(" %lld", (long long)position);
    } else if (!strcmp(operation, "close")) {
        error = __wasi_fd_close(fd);
    } else if (!strcmp(operation, "stat")) {
        error = __wasi_fd_filestat_get(fd, &status);
        if (!error) print_stat(&status);
    } else if (!strcmp(operation, "fdstat")) {
        error = __wasi_fd_fdstat_get(fd, &fdstat);
        if (!error) printf(" type %d flags %d", fdstat.fs_filetype, fdstat.fs_flags);
    } else if (!strcmp(operation, "setflags")) {
        error = __wasi_fd_fdstat_set_flags(fd, (__wasi_fdflags_t)number());
    } else if (!strcmp(operation, "setsize")) {
        error = __wasi_fd_filestat_set_size(fd, (__wasi_filesize_t)number());
    } else if (!strcmp(operation, "settimes")) {
        __wasi_timestamp_t accessed = (__wasi_timestamp_t)number(), modified = (__wasi_timestamp_t)number();
        error = __wasi_fd_filestat_set_times(fd, accessed, modified, (__wasi_fstflags_t)number());
    } else if (!strcmp(operation, "advise")) {
        __wasi_filesize_t offset = (__wasi_filesize_t)number(), length = (__wasi_filesize_t)number();
        error = __wasi_fd_advise(fd, offset, length, (__wasi_advice_t)number());
    } else if (!strcmp(operation, "sync")) {
        error = __wasi_fd_sync(fd);
    } else if (!strcmp(operation, "datasync")) {
        error = __wasi_fd_datasync(fd);
    } else if (!strcmp(operation, "renumber")) {
        error = __wasi_fd_renumber(fd, (__wasi_fd_t)number());
    } else if (!strcmp(operation, "readdir")) {
        error = read_directory(fd, (__wasi_dircookie_t)number());
    } else if (!strcmp(operation, "prestat")) {
        error = __wasi_fd_prestat_get(fd, &prestat);
        if (!error && !(error = __wasi_fd_prestat_dir_name(fd, buffer, prestat.u.dir.pr_name_len)))
            print_bytes(buffer, prestat.u.dir.pr_name_len);
    } else {
        error = path_operation(operation, fd);
    }
    return error;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (next = argv + 1; *next;) {
        const char *operation = *next++;
        char *path_or_number = *next ? *next : "";
        printf("%s %s:", operation, path_or_number);
        int error = descriptor_operation(operation, (__wasi_fd_t)number());
        printf(" -> %d\n", error);
    }
    return 0;
}
