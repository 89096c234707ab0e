/*
 * Many TFTP readers in one process, for scripts/bench/tftp.ts: a client in C, so that what is measured is the server.
 *
 *   tftp-load ADDRESS PORT NAME FILE CLIENTS BLKSIZE WINDOWSIZE LOSS SEED
 *
 * Every client reads NAME once and compares each block with FILE. LOSS is the share of DATA packets (0 to 1) that are
 * thrown away on arrival, drawn from SEED. Prints one JSON line; exits 1 when a client did not get the whole file.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_MAX = 65536, BURST = 32, TIMEOUT_MS = 1000, GIVE_UP_MS = 60000 };

struct client {
    int fd;
    struct sockaddr_in server; /* the request port first, then the transfer's own */
    int has_peer, done, told; /* told: an ACK for this gap or doubled block was already sent */
    unsigned blksize, window, in_window;
    uint64_t received; /* blocks in order */
    double heard_ms, progress_ms;
};

static const uint8_t *expected;
static size_t expected_size;
static const char *name;
static unsigned want_blksize, want_window;
static uint64_t lost, doubled, out_of_order, timeouts;
static uint64_t random_state;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* xorshift64*: the same seed loses the same packets for every server, as far as their order is the same. */
static double draw(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (double)((random_state * 2685821657736338717ull) >> 11) / 9007199254740992.0;
}

static void fail(const char *what) {
    fprintf(stderr, "tftp-load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void send_request(struct client *c) {
    char packet[512] = {0, 1};
    int n = 2;
    n += sprintf(packet + n, "%s", name) + 1;
    n += sprintf(packet + n, "octet") + 1;
    n += sprintf(packet + n, "blksize") + 1;
    n += sprintf(packet + n, "%u", want_blksize) + 1;
    if (want_window > 1) {
        n += sprintf(packet + n, "windowsize") + 1;
        n += sprintf(packet + n, "%u", want_window) + 1;
    }
    sendto(c->fd, packet, n, 0, (struct sockaddr *)&c->server, sizeof c->server);
}

static void send_ack(struct client *c) {
    uint8_t packet[4] = {0, 4, (uint8_t)(c->received >> 8), (uint8_t)c->received};
    c->in_window = 0;
    sendto(c->fd, packet, 4, 0, (struct sockaddr *)&c->server, sizeof c->server);
}

static void take_options(struct client *c, const char *at, const char *end) {
    while (at < end) {
        const char *option = at, *value = at + strlen(at) + 1;
        if (value >= end) return;
        at = value + strlen(value) + 1;
        if (!strcasecmp(option, "blksize")) c->blksize = atoi(value);
        if (!strcasecmp(option, "windowsize")) c->window = atoi(value);
    }
}

static void take_data(struct client *c, const uint8_t *packet, size_t size, double loss) {
    if (loss > 0 && draw() < loss) {
        lost++;
        return;
    }
    uint16_t next = (uint16_t)(c->received + 1), block = packet[2] << 8 | packet[3];
    if (block != next) {
        /* One ACK for a gap or a doubled block, then silence until something fits again. */
        if ((int16_t)(block - next) < 0) doubled++; else out_of_order++;
        if (!c->told) send_ack(c);
        c->told = 1;
        return;
    }
    size_t offset = c->received * c->blksize, length = size - 4;
    if (offset + length > expected_size || memcmp(packet + 4, expected + offset, length)) {
        fprintf(stderr, "tftp-load: block %llu differs from the file\n", (unsigned long long)c->received + 1);
        exit(1);
    }
    c->told = 0;
    c->received++;
    c->progress_ms = c->heard_ms;
    c->done = length < c->blksize;
    if (c->done && offset + length != expected_size) {
        fprintf(stderr, "tftp-load: the file ended early, at %zu of %zu bytes\n", offset + length, expected_size);
        exit(1);
    }
    if (c->done || ++c->in_window >= c->window) send_ack(c);
}

static void take(struct client *c, uint8_t *packet, size_t size, struct sockaddr_in *from, double loss) {
    if (size < 4 || packet[0] || c->done) return;
    if (!c->has_peer) {
        c->server = *from;
        c->has_peer = 1;
    }
    if (from->sin_port != c->server.sin_port) return;
    c->heard_ms = now_ms();
    if (packet[1] == 3) take_data(c, packet, size, loss);
    else if (packet[1] == 6 && c->received == 0) {
        packet[size] = 0;
        take_options(c, (char *)packet + 2, (char *)packet + size);
        send_ack(c);
    } else if (packet[1] == 5) {
        packet[size] = 0;
        fprintf(stderr, "tftp-load: server says error %d: %s\n", packet[3], packet + 4);
        exit(1);
    }
}

static void load_file(const char *path) {
    struct stat info;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &info)) fail(path);
    expected_size = info.st_size;
    expected = mmap(NULL, expected_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (expected == MAP_FAILED) fail("mmap");
    close(fd);
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "usage: tftp-load ADDRESS PORT NAME FILE CLIENTS BLKSIZE WINDOWSIZE LOSS SEED\n");
        return 2;
    }
    name = argv[3];
    load_file(argv[4]);
    int count = atoi(argv[5]), left = count;
    want_blksize = atoi(argv[6]);
    want_window = atoi(argv[7]);
    double loss = atof(argv[8]);
    random_state = strtoull(argv[9], NULL, 10) * 2654435769u + 1;

    struct client *clients = calloc(count, sizeof *clients);
    uint8_t *buffers = malloc((size_t)BURST * (PACKET_MAX + 1));
    struct mmsghdr messages[BURST];
    struct iovec vectors[BURST];
    struct sockaddr_in senders[BURST];
    for (int i = 0; i < BURST; i++) {
        vectors[i] = (struct iovec){buffers + (size_t)i * (PACKET_MAX + 1), PACKET_MAX};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &senders[i], .msg_namelen = sizeof senders[i], .msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    int poll = epoll_create1(0);
    double started = now_ms();
    for (int i = 0; i < count; i++) {
        struct client *c = &clients[i];
        c->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        c->blksize = 512;
        c->window = 1;
        c->server.sin_family = AF_INET;
        c->server.sin_port = htons(atoi(argv[2]));
        inet_pton(AF_INET, argv[1], &c->server.sin_addr);
        c->heard_ms = c->progress_ms = started;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (c->fd < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event)) fail("socket");
        send_request(c);
    }
    double checked = started;
    while (left > 0) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, 100);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            int was_done = c->done;
            for (int j = 0; j < BURST; j++) messages[j].msg_hdr.msg_namelen = sizeof senders[j];
            int got = recvmmsg(c->fd, messages, BURST, 0, NULL);
            for (int j = 0; j < got; j++)
                take(c, vectors[j].iov_base, messages[j].msg_len, &senders[j], loss);
            if (c->done && !was_done) {
                left--;
                close(c->fd);
            }
        }
        double now = now_ms();
        if (now - checked < 50) continue;
        checked = now;
        for (int i = 0; i < count; i++) {
            struct client *c = &clients[i];
            if (c->done || now - c->heard_ms < TIMEOUT_MS) continue;
            if (now - c->progress_ms > GIVE_UP_MS) {
                fprintf(stderr, "tftp-load: client %d got no further for %d ms\n", i, GIVE_UP_MS);
                return 1;
            }
            timeouts++;
            c->heard_ms = now;
            c->told = 0;
            if (c->has_peer) send_ack(c); else send_request(c);
        }
    }
    double seconds = (now_ms() - started) / 1e3, bytes = (double)expected_size * count;
    printf("{\"seconds\":%.4f,\"bytes\":%.0f,\"mbPerSecond\":%.2f,\"blksize\":%u,\"windowsize\":%u,\"lost\":%llu,"
           "\"doubled\":%llu,\"outOfOrder\":%llu,\"timeouts\":%llu}\n",
           seconds, bytes, bytes / seconds / 1e6, clients[0].blksize, clients[0].window, (unsigned long long)lost,
           (unsigned long long)doubled, (unsigned long long)out_of_order, (unsigned long long)timeouts);
    return 0;
}
