/* Loaded before libc: while the file $EIO_TRIGGER is there, nothing can be written below $EIO_FOLDER (EIO). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(int file) {
    const char *trigger = getenv("EIO_TRIGGER"), *folder = getenv("EIO_FOLDER");
    char link[64], path[4096];
    int kept = errno;
    if (!trigger || !folder || access(trigger, F_OK)) {
        errno = kept;
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (length <= 0) return 0;
    path[length] = 0;
    return !strncmp(path, folder, strlen(folder));
}

#define FAILING(type, name, parameters, arguments)         \
    type name parameters {                                 \
        static type(*real) parameters;                     \
        if (!real) real = dlsym(RTLD_NEXT, #name);         \
        if (fails(file)) {                                 \
            errno = EIO;                                   \
            return -1;                                     \
        }                                                  \
        return real arguments;                             \
    }

FAILING(ssize_t, write, (int file, const void *from, size_t many), (file, from, many))
FAILING(ssize_t, pwrite, (int file, const void *from, size_t many, off_t at), (file, from, many, at))
FAILING(ssize_t, pwrite64, (int file, const void *from, size_t many, off64_t at), (file, from, many, at))
FAILING(ssize_t, writev, (int file, const struct iovec *from, int many), (file, from, many))
FAILING(int, fsync, (int file), (file))
FAILING(int, fdatasync, (int file), (file))
