/* The program that the benchmark runs, small enough that starting it costs next to nothing.
 *
 *   program               tells on stdout when its main began, says that it is online, and waits to be ended
 *   program loop N        the bare loop to compare with: tells when it begins, then forks and executes itself N times
 *   program exec WORDS    tells when it begins, then executes that
 *
 * A moment is one record of two 64-bit numbers, native order, in one write: the pid (0: it begins) and CLOCK_MONOTONIC
 * in nanoseconds. It does not serve anybody. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void tell(uint64_t pid)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t record[2] = { pid, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec };
    if (write(1, record, sizeof record) != sizeof record)
        _exit(1);
}

static void loop(char *program, long times)
{
    char *argv[] = { program, NULL };
    tell(0);
    for (long i = 0; i < times; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execv(program, argv);
            _exit(127);
        }
        if (pid < 0)
            _exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "loop") == 0) {
        loop(argv[0], atol(argv[2]));
    } else if (argc > 2 && strcmp(argv[1], "exec") == 0) {
        tell(0);
        execv(argv[2], argv + 2);
        return 127;
    } else {
        tell((uint64_t)getpid());
        const char *notify = getenv("NOTIFY_FD");
        if (notify != NULL && write(atoi(notify), "online\n", 7) != 7)
            return 1;
    }
    for (;;)
        pause();
}
