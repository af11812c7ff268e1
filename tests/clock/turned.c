// Preloaded into redis-server by the tests: the wall clock shows what lies in a file, in microseconds
// since the Unix epoch, so that a test turns the clock of a real Redis. Other clocks run on.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile uint64_t *turned;

__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("TOOLGATE_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *turned, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        _exit(97); // a clock that does not turn would make tests pass for nothing
    turned = mapped;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    uint64_t micros = *turned;
    now->tv_sec = micros / 1000000;
    now->tv_usec = micros % 1000000;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (clock != CLOCK_REALTIME)
        return syscall(SYS_clock_gettime, clock, now);
    uint64_t micros = *turned;
    now->tv_sec = micros / 1000000;
    now->tv_nsec = micros % 1000000 * 1000;
    return 0;
}

time_t time(time_t *now) {
    time_t seconds = *turned / 1000000;
    if (now)
        *now = seconds;
    return seconds;
}
