/* Put before a program by LD_PRELOAD: looking up NAME hangs while the file $HANGING_NAMES/NAME is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    const char *folder = getenv("HANGING_NAMES");
    char file[4096];

    if (folder && name) {
        snprintf(file, sizeof file, "%s/%s", folder, name);
        while (access(file, F_OK) == 0)
            usleep(20000);
    }
    next = dlsym(RTLD_NEXT, "getaddrinfo");
    return next(name, service, hints, found);
}
