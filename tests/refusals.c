/* What a kernel says now and then, said more often: to be loaded before the C library (LD_PRELOAD, test_kernel_errors.py).
 *
 * REFUSE_SENDS=ERRNO:SHARE, REFUSE_READS=ERRNO:SHARE: that share of the calls on UDP sockets that are connected to the
 * port REFUSE_PORT fails so, and nothing is sent or read. Each is an octet more in the file REFUSE_LOG.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int log_file = -1, port, send_errno, read_errno;
static double send_share, read_share;
/* Evenly, from one of the first calls on: how many there are depends on how busy the machine is. */
static __thread double send_due = 0.9, read_due = 0.9;

__attribute__((constructor)) static void begin(void) {
    const char *text;
    if ((text = getenv("REFUSE_PORT"))) port = atoi(text);
    if ((text = getenv("REFUSE_SENDS"))) sscanf(text, "%d:%lf", &send_errno, &send_share);
    if ((text = getenv("REFUSE_READS"))) sscanf(text, "%d:%lf", &read_errno, &read_share);
    if ((text = getenv("REFUSE_LOG"))) {
        int low = open(text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        log_file = fcntl(low, F_DUPFD_CLOEXEC, 200); /* out of the way of who counts on low numbers */
        close(low);
    }
}

static int ours(int fd) {
    int type = 0;
    socklen_t size = sizeof type;
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_DGRAM) return 0;
    return !getpeername(fd, (struct sockaddr *)&peer, &length) && peer.sin_family == AF_INET
        && ntohs(peer.sin_port) == port;
}

static int refused(int fd, int number, double share, double *due) {
    int before = errno;
    if (share <= 0.0 || !ours(fd)) return errno = before, 0;
    if ((*due += share) < 1.0) return errno = before, 0;
    *due -= 1.0;
    if (log_file >= 0) syscall(SYS_write, log_file, ".", 1);
    errno = number;
    return 1;
}

#define FORWARD(direction, result, name, fd, parameters, arguments)                            \
    result name parameters {                                                                   \
        static result(*next) parameters;                                                       \
        if (!next) next = (result(*) parameters)dlsym(RTLD_NEXT, #name);                       \
        if (refused(fd, direction##_errno, direction##_share, &direction##_due)) return -1;    \
        return next arguments;                                                                 \
    }

FORWARD(send, ssize_t, write, fd, (int fd, const void *data, size_t size), (fd, data, size))
FORWARD(send, ssize_t, send, fd, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
FORWARD(send, ssize_t, sendto, fd,
        (int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length),
        (fd, data, size, flags, to, length))
FORWARD(send, ssize_t, sendmsg, fd, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
FORWARD(send, int, sendmmsg, fd, (int fd, struct mmsghdr *messages, unsigned count, int flags),
        (fd, messages, count, flags))
FORWARD(read, ssize_t, read, fd, (int fd, void *data, size_t size), (fd, data, size))
FORWARD(read, ssize_t, recv, fd, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
FORWARD(read, ssize_t, recvfrom, fd,
        (int fd, void *data, size_t size, int flags, struct sockaddr *from, socklen_t *length),
        (fd, data, size, flags, from, length))
FORWARD(read, ssize_t, recvmsg, fd, (int fd, struct msghdr *message, int flags), (fd, message, flags))
FORWARD(read, int, recvmmsg, fd,
        (int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *wait),
        (fd, messages, count, flags, wait))
