/* Writes numbered lines of 100 bytes to stdout, 4096 bytes at a time as stdio does to a pipe: lines COUNT [MARKER]
 *
 *   2 000000017 xxxx…x        its number is SRVWRAP_SLOT, else argument 3, else 0
 *
 * With MARKER it is a worker: when all is written it makes that file, its number at the end, and waits for a signal. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 100, WRITE = 4096 };

static void write_all(const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t written = write(1, bytes, count);
        if (written < 0)
            exit(1);
        bytes += written;
        count -= (size_t)written;
    }
}

int main(int argc, char **argv) {
    const char *slot = getenv("SRVWRAP_SLOT");
    long count = argc > 1 ? atol(argv[1]) : 0;
    int number = slot ? atoi(slot) : argc > 3 ? atoi(argv[3]) : 0;
    char buffer[WRITE + LINE], line[LINE + 1];
    size_t filled = 0;
    memset(line, 'x', LINE);
    /* Of the number, the lowest digit. */
    char *last = line + sprintf(line, "%d %09d", number, 0);
    *last-- = ' ';
    line[LINE - 1] = '\n';
    for (; count > 0; count--) {
        memcpy(buffer + filled, line, LINE);
        filled += LINE;
        char *digit = last;
        for (; *digit == '9'; digit--)
            *digit = '0';
        ++*digit;
        if (filled >= WRITE) {
            write_all(buffer, WRITE);
            filled -= WRITE;
            memmove(buffer, buffer + WRITE, filled);
        }
    }
    write_all(buffer, filled);
    if (argc > 2 && argv[2][0]) {
        char name[4096];
        snprintf(name, sizeof name, "%s%d", argv[2], number);
        close(open(name, O_CREAT | O_WRONLY, 0600));
        pause();
    }
    return 0;
}
