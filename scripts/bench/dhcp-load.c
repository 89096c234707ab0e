/*
 * Load for a DHCP server: many clients behind one relay agent, `window` exchanges at a time. Prints one line of JSON.
 *
 *     dhcp-load SERVER RELAY CLIENTS WINDOW offers|leases SEED
 *
 * SERVER and RELAY are IPv4 addresses; RELAY is one of this machine, and replies come to its port 67 (RFC 2131 section 4.1).
 * `offers` is DISCOVER and OFFER, `leases` REQUEST and ACK too. Latency is of one packet and its reply.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, PACKET = 320, TIMEOUT_NS = 1000000000 };

struct client { uint64_t sent_ns; uint32_t address; uint8_t state; };

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint8_t *option(uint8_t *at, uint8_t code, const void *value, uint8_t length) {
  at[0] = code;
  at[1] = length;
  memcpy(at + 2, value, length);
  return at + 2 + length;
}

/* state 0: DISCOVER; 1: REQUEST of `address`. */
static void build(uint8_t *p, uint32_t index, uint32_t seed, const struct client *c, uint32_t relay, uint32_t server) {
  static const char class[] = "PXEClient:Arch:00007:UNDI:003000";
  static const uint8_t asked[] = {1, 3, 6, 12, 15, 28, 43, 60, 66, 67};
  static const uint8_t arch[] = {0, 7};
  uint8_t type = c->state == 0 ? 1 : 3;
  uint32_t xid = htonl(index), mac = htonl(index + seed * 0x100000u);
  memset(p, 0, PACKET);
  p[0] = 1; p[1] = 1; p[2] = 6; p[3] = 1;
  memcpy(p + 4, &xid, 4);
  memcpy(p + 24, &relay, 4);
  p[28] = 0x02; p[29] = 0x10;
  memcpy(p + 30, &mac, 4);
  memcpy(p + 236, "\x63\x82\x53\x63", 4);
  uint8_t *at = option(p + 240, 53, &type, 1);
  if (c->state == 1) {
    at = option(at, 54, &server, 4);
    at = option(at, 50, &c->address, 4);
  }
  at = option(at, 60, class, sizeof class - 1);
  at = option(at, 93, arch, sizeof arch);
  at = option(at, 55, asked, sizeof asked);
  *at = 255;
}

/* The DHCP message type of a reply, 0 for none. */
static int type_of(const uint8_t *p, int length) {
  for (int at = 240; at + 2 < length && p[at] != 255; at += p[at] == 0 ? 1 : 2 + p[at + 1])
    if (p[at] == 53) return p[at + 2];
  return 0;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  if (argc != 7) { fprintf(stderr, "usage: dhcp-load SERVER RELAY CLIENTS WINDOW offers|leases SEED\n"); return 2; }
  uint32_t server = inet_addr(argv[1]), relay = inet_addr(argv[2]);
  uint32_t clients = (uint32_t)atoi(argv[3]), window = (uint32_t)atoi(argv[4]), seed = (uint32_t)atoi(argv[6]);
  int leases = strcmp(argv[5], "leases") == 0;
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(67), .sin_addr.s_addr = relay};
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(67), .sin_addr.s_addr = server};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), buffer = 8 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  if (bind(fd, (struct sockaddr *)&own, sizeof own) != 0) { perror("bind"); return 1; }

  struct client *all = calloc(clients, sizeof *all);
  uint64_t *latency = calloc((size_t)clients * 2, sizeof *latency);
  static uint8_t out[BATCH][PACKET], in[BATCH][1600];
  struct iovec outv[BATCH], inv[BATCH];
  struct mmsghdr outm[BATCH] = {0}, inm[BATCH] = {0};
  for (int i = 0; i < BATCH; i += 1) {
    outv[i] = (struct iovec){out[i], PACKET};
    inv[i] = (struct iovec){in[i], sizeof in[i]};
    outm[i].msg_hdr = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &outv[i], .msg_iovlen = 1};
    inm[i].msg_hdr = (struct msghdr){.msg_iov = &inv[i], .msg_iovlen = 1};
  }
  uint32_t next = 0, done = 0, flying = 0, queued = 0, oldest = 0, lost = 0, refused = 0;
  size_t samples = 0;
  uint64_t begun = now_ns();
  double cpu = cpu_seconds();
  while (done < clients) {
    uint64_t now = now_ns();
    if (now - begun > 120ull * 1000000000u) { fprintf(stderr, "%u of %u clients were served in 120 s\n", done, clients); return 1; }
    while (flying < window && next < clients && queued < BATCH) {
      build(out[queued++], next, seed, &all[next], relay, server);
      all[next++].sent_ns = now;
      flying += 1;
    }
    /* What was lost is sent again after a second, as clients do. */
    for (; oldest < next && all[oldest].state == 2; oldest += 1) {}
    for (uint32_t i = oldest; i < next && queued < BATCH; i += 1)
      if (all[i].state != 2 && now - all[i].sent_ns > TIMEOUT_NS) {
        build(out[queued++], i, seed, &all[i], relay, server);
        all[i].sent_ns = now;
        lost += 1;
      } else if (i - oldest > 4 * window) break;
    for (uint32_t sent = 0; sent < queued;) {
      int n = sendmmsg(fd, outm + sent, queued - sent, 0);
      if (n <= 0) break;
      sent += (uint32_t)n;
    }
    queued = 0;
    struct pollfd ready = {fd, POLLIN, 0};
    poll(&ready, 1, 100);
    int n = recvmmsg(fd, inm, BATCH, MSG_DONTWAIT, NULL);
    now = now_ns();
    for (int i = 0; i < n; i += 1) {
      uint32_t xid;
      memcpy(&xid, in[i] + 4, 4);
      xid = ntohl(xid);
      int type = type_of(in[i], (int)inm[i].msg_len);
      if (inm[i].msg_len < 240 || xid >= next || type != (all[xid].state == 0 ? 2 : 5)) {
        if (type == 6) refused += 1;
        continue;
      }
      latency[samples++] = now - all[xid].sent_ns;
      if (all[xid].state == 0 && leases) {
        memcpy(&all[xid].address, in[i] + 16, 4);
        all[xid].state = 1;
        build(out[queued++], xid, seed, &all[xid], relay, server);
        all[xid].sent_ns = now;
      } else {
        all[xid].state = 2;
        done += 1;
        flying -= 1;
      }
    }
  }
  double seconds = (double)(now_ns() - begun) / 1e9;
  qsort(latency, samples, sizeof *latency, by_value);
  printf("{\"perSecond\":%.1f,\"p50Ms\":%.3f,\"p99Ms\":%.3f,\"lost\":%u,\"refused\":%u,\"loadCpuShare\":%.2f}\n",
         clients / seconds, (double)latency[samples / 2] / 1e6, (double)latency[samples * 99 / 100] / 1e6, lost, refused,
         (cpu_seconds() - cpu) / seconds);
  return 0;
}
