/* Ways out of "/", each as a compiled program: refused. Beside the directory lie "stdin" and "ro/file". */
#include "case.h"

static char buffer[256];
static size_t count;

CASE(open_parent) { IS(try_open(ROOT, FOLLOW, "..", DIRECTORY, READ), EPERM); }
CASE(open_beside) { IS(try_open(ROOT, FOLLOW, "../stdin", 0, READ), EPERM); }
CASE(open_beside_after_directories) { IS(try_open(ROOT, FOLLOW, "dir/sub/../../../stdin", 0, READ), EPERM); }
CASE(open_beside_and_back) { IS(try_open(ROOT, FOLLOW, "../root/file", 0, READ), EPERM); }
CASE(open_absolute) { IS(try_open(ROOT, FOLLOW, "/etc/passwd", 0, READ), EPERM); }
CASE(open_absolute_own) { IS(try_open(ROOT, FOLLOW, "/file", 0, READ), EPERM); }
CASE(open_link_out) { IS(try_open(ROOT, FOLLOW, "up", 0, READ), EPERM); }
CASE(open_link_absolute) { IS(try_open(ROOT, FOLLOW, "absolute", 0, READ), EPERM); }
CASE(create_beside) { IS(try_open(ROOT, FOLLOW, "../created", CREAT, WRITE), EPERM); }
CASE(create_through_link) { IS(try_open(ROOT, FOLLOW, "up", CREAT, WRITE), EPERM); }
CASE(truncate_beside) { IS(try_open(ROOT, FOLLOW, "../ro/file", TRUNC, WRITE), EPERM); }
CASE(made_link_up) {
    IS(path_symlink(PATH(".."), ROOT, PATH("made")), SUCCESS);
    IS(try_open(ROOT, FOLLOW, "made/stdin", 0, READ), EPERM);
    IS(try_open(ROOT, FOLLOW, "made/created", CREAT, WRITE), EPERM);
}
CASE(made_link_moved_up) {
    IS(path_symlink(PATH("../file"), ROOT, PATH("dir/made")), SUCCESS);
    IS(try_open(ROOT, FOLLOW, "dir/made", 0, READ), SUCCESS);
    IS(path_rename(ROOT, PATH("dir/made"), ROOT, PATH("made")), SUCCESS);
    IS(try_open(ROOT, FOLLOW, "made", 0, READ), EPERM);
}
CASE(made_links_in_a_chain) {
    IS(path_symlink(PATH("b"), ROOT, PATH("a")), SUCCESS);
    IS(path_symlink(PATH("dir/c"), ROOT, PATH("b")), SUCCESS);
    IS(path_symlink(PATH("../../stdin"), ROOT, PATH("dir/c")), SUCCESS);
    IS(try_open(ROOT, FOLLOW, "a", 0, READ), EPERM);
}
CASE(opened_directory_is_a_border) {
    fd_t dir = open("dir", DIRECTORY, READ | RIGHT_OPEN);
    IS(try_open(dir, FOLLOW, "../file", 0, READ), EPERM);
}
CASE(renumbered_directory_is_a_border) {
    fd_t dir = open("dir", DIRECTORY, READ | RIGHT_OPEN);
    IS(fd_renumber(dir, ROOT), SUCCESS);
    IS(try_open(ROOT, FOLLOW, "../file", 0, READ), EPERM);
    IS(try_open(ROOT, FOLLOW, "a", 0, READ), SUCCESS);
}
CASE(renumbered_read_only_stays_so) {
    IS(fd_renumber(READ_ONLY, ROOT), SUCCESS);
    IS(path_unlink_file(ROOT, PATH("file")), EPERM);
}
CASE(mkdir_beside) { IS(path_create_directory(ROOT, PATH("../made")), EPERM); }
CASE(rmdir_beside) { IS(path_remove_directory(ROOT, PATH("../ro/empty")), EPERM); }
CASE(unlink_beside) { IS(path_unlink_file(ROOT, PATH("../ro/file")), EPERM); }
CASE(rename_out) { IS(path_rename(ROOT, PATH("file"), ROOT, PATH("../file")), EPERM); }
CASE(rename_in) { IS(path_rename(ROOT, PATH("../ro/file"), ROOT, PATH("stolen")), EPERM); }
CASE(link_out) { IS(path_link(ROOT, 0, PATH("file"), ROOT, PATH("../file")), EPERM); }
CASE(link_in) { IS(path_link(ROOT, 0, PATH("../ro/file"), ROOT, PATH("stolen")), EPERM); }
CASE(symlink_out) { IS(path_symlink(PATH("x"), ROOT, PATH("../made")), EPERM); }
CASE(symlink_to_root) { IS(path_symlink(PATH("/"), ROOT, PATH("made")), EPERM); }
CASE(readlink_beside) { IS(path_readlink(ROOT, PATH("../ro/link"), buffer, sizeof buffer, &count), EPERM); }
CASE(readlink_absolute) { IS(path_readlink(ROOT, PATH("absolute"), buffer, sizeof buffer, &count), EPERM); }
CASE(stat_beside) {
    struct filestat status;
    IS(path_filestat_get(ROOT, FOLLOW, PATH("../stdin"), &status), EPERM);
    IS(path_filestat_get(ROOT, FOLLOW, PATH("up"), &status), EPERM);
}
CASE(times_beside) { IS(path_filestat_set_times(ROOT, FOLLOW, PATH("../ro/file"), 1, 1, ACCESS | MODIFY), EPERM); }
CASE(nul_in_a_path) {
    fd_t fd;
    IS(path_open(ROOT, FOLLOW, PATH("file\0/../../stdin"), 0, READ, READ, 0, &fd), EINVAL);
}
CASE(overlong_utf8) { IS(try_open(ROOT, FOLLOW, "..\xc0\xafstdin", 0, READ), EILSEQ); }
CASE(path_too_long) {
    static char path[9000];
    for (size_t i = 0; i < sizeof path - 1; i++) path[i] = "../"[i % 3];
    IS(try_open(ROOT, FOLLOW, path, 0, READ), ENAMETOOLONG);
}
