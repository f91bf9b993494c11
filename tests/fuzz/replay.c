/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit replay is the main of a fuzz target without libFuzzer: it plays every input of the files and folders that it is
 * given, and reports each folder or file as a test, in TAP. So any compiler can keep old crashes from coming back. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "target.h"

/* One input, in memory of its exact size. Who crashes has been named on stderr. */
static void play_file(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd >= 0 && fstat(fd, &st) == 0);
    size_t size = (size_t)st.st_size;
    uint8_t *bytes = malloc(size + 1);
    must(bytes != NULL && read(fd, bytes + 1, size) == (ssize_t)size);
    close(fd);
    if (getenv("FUZZ_VERBOSE") != NULL)
        fprintf(stderr, "playing %s\n", path);
    (void)LLVMFuzzerTestOneInput(bytes + 1, size);
    free(bytes);
}

static unsigned play_folder(const char *path)
{
    struct dirent **names = NULL;
    int count = scandir(path, &names, NULL, alphasort);
    unsigned played = 0;
    must(count >= 0);
    for (int i = 0; i < count; i++) {
        char file[4096];
        snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.') {
            play_file(file);
            played++;
        }
        free(names[i]);
    }
    free((void *)names);
    return played;
}

int main(int argc, char **argv)
{
    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        struct stat st;
        unsigned played = 1;
        must(stat(argv[i], &st) == 0);
        if (S_ISDIR(st.st_mode))
            played = play_folder(argv[i]);
        else
            play_file(argv[i]);
        const char *slash = strrchr(argv[i], '/');
        printf("%sok %d - %u inputs of %s\n", played > 0 ? "" : "not ", i, played,
               slash == NULL ? argv[i] : slash + 1);
    }
    return 0;
}
