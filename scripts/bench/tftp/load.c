/*
 * Many TFTP readers in one process, for scripts/bench/tftp.ts and tftp-loss.ts: a client in C, so that what is measured is the server.
 *
 *   tftp-load ADDRESS PORT NAME FILE CLIENTS BLKSIZE WINDOWSIZE LOSS SEED
 *
 * Every client reads NAME once and compares each block with FILE. LOSS is the share of DATA packets (0 to 1) that are
 * thrown away on arrival, drawn from SEED. Prints one JSON line, with the share of a processor that it took itself; exits 1
 * when a client did not get the whole file.
 *
 * Each client is an address of its own on loopback, 127.100.x.y, as machines are; many share a socket, which takes and sends
 * for all of them with one call. A socket for each client would make this program, not the server, what is measured.
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_MAX = 65536, BURST = 64, GROUP = 64, TIMEOUT_MS = 1000, GIVE_UP_MS = 60000, BUFFER_BYTES = 32 << 20 };

struct client {
    struct sockaddr_in server; /* the request port first, then the transfer's own */
    struct in_addr address;
    int has_peer, done, told; /* told: an ACK for this gap or doubled block was already sent */
    unsigned blksize, window, in_window;
    uint64_t received; /* blocks in order */
    double heard_ms, progress_ms;
};

/* One socket, its clients, and what it sends next. */
struct group {
    int fd;
    struct client *clients;
    int count, out;
    struct mmsghdr messages[BURST];
    struct iovec vectors[BURST];
    uint8_t packets[BURST][512];
    struct sockaddr_in to[BURST];
    union { char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))]; struct cmsghdr align; } control[BURST];
};

static const uint8_t *expected;
static size_t expected_size;
static const char *name;
static unsigned want_blksize, want_window;
static uint64_t lost, doubled, out_of_order, timeouts;
static uint64_t random_state;
static int left;
static double now;

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

static void flush(struct group *g) {
    for (int sent = 0; sent < g->out;) {
        int n = sendmmsg(g->fd, g->messages + sent, g->out - sent, 0);
        if (n > 0) sent += n;
        else if (errno != EINTR && errno != EAGAIN) sent++; /* UDP may lose it, and the timer asks again */
    }
    g->out = 0;
}

static void queue(struct group *g, struct client *c, const void *packet, size_t size) {
    if (g->out == BURST) flush(g);
    int i = g->out++;
    memcpy(g->packets[i], packet, size);
    g->to[i] = c->server;
    g->vectors[i] = (struct iovec){g->packets[i], size};
    g->messages[i].msg_hdr = (struct msghdr){
        .msg_name = &g->to[i], .msg_namelen = sizeof g->to[i], .msg_iov = &g->vectors[i], .msg_iovlen = 1,
        .msg_control = g->control[i].bytes, .msg_controllen = sizeof g->control[i].bytes};
    struct cmsghdr *from = CMSG_FIRSTHDR(&g->messages[i].msg_hdr);
    from->cmsg_level = IPPROTO_IP;
    from->cmsg_type = IP_PKTINFO;
    from->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    *(struct in_pktinfo *)CMSG_DATA(from) = (struct in_pktinfo){.ipi_spec_dst = c->address};
}

static void send_request(struct group *g, struct client *c) {
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
    queue(g, c, packet, n);
}

static void send_ack(struct group *g, struct client *c) {
    uint8_t packet[4] = {0, 4, (uint8_t)(c->received >> 8), (uint8_t)c->received};
    c->in_window = 0;
    queue(g, c, packet, 4);
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

static void take_data(struct group *g, struct client *c, const uint8_t *packet, size_t size, double loss) {
    if (loss > 0 && draw() < loss) {
        lost++;
        return;
    }
    uint16_t next = (uint16_t)(c->received + 1), block = packet[2] << 8 | packet[3];
    if (block != next) {
        /* One ACK for a gap or a doubled block, then silence until something fits again. */
        if ((int16_t)(block - next) < 0) doubled++; else out_of_order++;
        if (!c->told) send_ack(g, c);
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
    if (c->done) left--;
    if (c->done || ++c->in_window >= c->window) send_ack(g, c);
}

static void take(struct group *g, struct client *c, uint8_t *packet, size_t size, struct sockaddr_in *from, double loss) {
    if (size < 4 || packet[0] || c->done) return;
    if (!c->has_peer) {
        c->server = *from;
        c->has_peer = 1;
    }
    if (from->sin_port != c->server.sin_port) return;
    c->heard_ms = now;
    if (packet[1] == 3) take_data(g, c, packet, size, loss);
    else if (packet[1] == 6 && c->received == 0) {
        packet[size] = 0;
        take_options(c, (char *)packet + 2, (char *)packet + size);
        send_ack(g, c);
    } else if (packet[1] == 5) {
        packet[size] = 0;
        fprintf(stderr, "tftp-load: server says error %d: %s\n", packet[3], packet + 4);
        exit(1);
    }
}

/* Which client a datagram was sent to. */
static struct client *receiver(struct group *g, struct msghdr *message) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            uint32_t i = ntohl(((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr.s_addr) - ntohl(g->clients->address.s_addr);
            return i < (uint32_t)g->count ? &g->clients[i] : NULL;
        }
    return NULL;
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

static void open_group(struct group *g) {
    int one = 1, bytes = BUFFER_BYTES;
    struct sockaddr_in any = {.sin_family = AF_INET};
    g->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (g->fd < 0 || bind(g->fd, (struct sockaddr *)&any, sizeof any)) fail("socket");
    if (setsockopt(g->fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one)) fail("IP_PKTINFO");
    /* What the clients of one socket are sent at once has to fit; without the right to, the kernel gives less. */
    if (setsockopt(g->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes))
        setsockopt(g->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

static void receive(struct group *g, double loss) {
    static uint8_t buffers[BURST][PACKET_MAX + 1];
    static struct mmsghdr messages[BURST];
    static struct iovec vectors[BURST];
    static struct sockaddr_in senders[BURST];
    static union { char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))]; struct cmsghdr align; } control[BURST];
    for (int rounds = 0, got = BURST; got == BURST && rounds < 8; rounds++) {
        for (int i = 0; i < BURST; i++) {
            vectors[i] = (struct iovec){buffers[i], PACKET_MAX};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &senders[i], .msg_namelen = sizeof senders[i], .msg_iov = &vectors[i], .msg_iovlen = 1,
                .msg_control = control[i].bytes, .msg_controllen = sizeof control[i].bytes};
        }
        got = recvmmsg(g->fd, messages, BURST, 0, NULL);
        now = now_ms();
        for (int i = 0; i < got; i++) {
            struct client *c = receiver(g, &messages[i].msg_hdr);
            if (c) take(g, c, buffers[i], messages[i].msg_len, &senders[i], loss);
        }
        flush(g);
    }
}

/* What a client does whose server is silent: asks again. */
static int check_silence(struct group *g) {
    for (int i = 0; i < g->count; i++) {
        struct client *c = &g->clients[i];
        if (c->done || now - c->heard_ms < TIMEOUT_MS) continue;
        if (now - c->progress_ms > GIVE_UP_MS) {
            fprintf(stderr, "tftp-load: a client got no further for %d ms\n", GIVE_UP_MS);
            return 0;
        }
        timeouts++;
        c->heard_ms = now;
        c->told = 0;
        if (c->has_peer) send_ack(g, c); else send_request(g, c);
    }
    flush(g);
    return 1;
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "usage: tftp-load ADDRESS PORT NAME FILE CLIENTS BLKSIZE WINDOWSIZE LOSS SEED\n");
        return 2;
    }
    name = argv[3];
    load_file(argv[4]);
    int count = atoi(argv[5]), groups = (count + GROUP - 1) / GROUP;
    want_blksize = atoi(argv[6]);
    want_window = atoi(argv[7]);
    double loss = atof(argv[8]);
    random_state = strtoull(argv[9], NULL, 10) * 2654435769u + 1;
    left = count;

    struct client *clients = calloc(count, sizeof *clients);
    struct group *all = calloc(groups, sizeof *all);
    int poll = epoll_create1(0);
    double cpu = cpu_seconds(), started = now = now_ms();
    for (int i = 0; i < count; i++) {
        struct group *g = &all[i / GROUP];
        struct client *c = &clients[i];
        if (i % GROUP == 0) {
            g->clients = c;
            open_group(g);
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = g};
            if (epoll_ctl(poll, EPOLL_CTL_ADD, g->fd, &event)) fail("epoll");
        }
        g->count++;
        c->address.s_addr = htonl(0x7f640001 + i); /* 127.100.0.1 and on */
        c->blksize = 512;
        c->window = 1;
        c->server.sin_family = AF_INET;
        c->server.sin_port = htons(atoi(argv[2]));
        inet_pton(AF_INET, argv[1], &c->server.sin_addr);
        c->heard_ms = c->progress_ms = started;
        send_request(g, c);
    }
    for (int i = 0; i < groups; i++) flush(&all[i]);
    double checked = started;
    while (left > 0) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, 100);
        for (int i = 0; i < ready; i++) receive(events[i].data.ptr, loss);
        now = now_ms();
        if (now - checked < 50) continue;
        checked = now;
        for (int i = 0; i < groups; i++)
            if (!check_silence(&all[i])) return 1;
    }
    double seconds = (now_ms() - started) / 1e3, bytes = (double)expected_size * count;
    printf("{\"seconds\":%.4f,\"bytes\":%.0f,\"mbPerSecond\":%.2f,\"loadCpu\":%.2f,\"blksize\":%u,\"windowsize\":%u,"
           "\"lost\":%llu,\"doubled\":%llu,\"outOfOrder\":%llu,\"timeouts\":%llu}\n",
           seconds, bytes, bytes / seconds / 1e6, (cpu_seconds() - cpu) / seconds, clients[0].blksize, clients[0].window,
           (unsigned long long)lost, (unsigned long long)doubled, (unsigned long long)out_of_order,
           (unsigned long long)timeouts);
    return 0;
}
