/* Load driver: one thread, epoll, keep-alive connections.
 *
 *   ./load PORT -c CONNECTIONS -d SECONDS [-n MOST] [-r RATE] [-p PATH] [-b BODY_FILE] [-H "name: value"]... [-t S]
 *
 * Without -r each connection sends its next request as soon as an answer is whole. With -r requests are sent at
 * a fixed rate over at most -c connections, and latency counts from the time a request was due. -t: how long to
 * wait for the last answers. Understands content-length, chunked and SSE, counts "data:" events, and prints one
 * JSON line with times in microseconds. Whatever fails or is not 2xx is an error. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct {
  int fd, busy, close, status;
  int hdr;       /* still in the answer's head */
  int chunked;   /* framed by chunks, else by a length (left) or the end of the connection (left < 0) */
  int cst;       /* chunk state: 0 size line, 1 data, 2 line end, 3 trailers */
  long left;     /* bytes of the body or chunk still to come */
  char line[64]; /* a chunk's size line so far */
  int ll;
  char h[16384]; /* the head so far */
  int hl;
  long long t0, tfirst; /* when it was due, and when the first byte of the body came */
  int first, em, evs;   /* event counting: begun, how much of the pattern has matched, events seen */
} conn;
static int ep, port;
static conn *cs;
static int nc = 1;
static char *req;
static size_t reql;
static double *lat, *ttfb;
static size_t nl, cap;
static unsigned long errs, events, bytes, st_bad, reconn;
static char sample[600]; /* the first answer that was not 2xx */
static struct {
  double seconds, rate, wait_s;
  long most;
  const char *path, *body_file;
  char headers[8192];
} opt = {.seconds = 5, .wait_s = 60, .most = -1, .path = "/v1/chat/completions"};

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int cmp(const void *a, const void *b) {
  double x = *(double *)a, y = *(double *)b;
  return x < y ? -1 : x > y;
}

static double pct(double *a, size_t n, double p) {
  if (!n) return 0;
  size_t i = (size_t)(p * (n - 1) + 0.5);
  return a[i];
}

static void dial(conn *c) {
  int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(c->fd, (void *)&a, sizeof a)) {
    perror("connect");
    exit(2);
  }
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
  c->busy = 0;
  c->hl = 0;
}

static void fire(conn *c, long long t0) {
  c->busy = 1;
  c->hdr = 1;
  c->hl = 0;
  c->t0 = t0;
  c->tfirst = 0;
  c->em = 0;
  c->evs = 0;
  c->cst = 0;
  c->ll = 0;
  c->close = 0;
  c->chunked = 0;
  c->left = -1;
  if (send(c->fd, req, reql, MSG_NOSIGNAL) != (ssize_t)reql) {
    errs++;
    close(c->fd);
    reconn++;
    dial(c);
  }
}

static void done(conn *c, int ok) {
  long long t = now_ns();
  if (ok && c->status / 100 == 2) {
    if (nl == cap) {
      cap *= 2;
      lat = realloc(lat, cap * 8);
      ttfb = realloc(ttfb, cap * 8);
    }
    lat[nl] = (t - c->t0) / 1e3;
    ttfb[nl++] = ((c->tfirst ? c->tfirst : t) - c->t0) / 1e3;
    events += c->evs;
  } else {
    errs++;
    if (ok) st_bad = c->status;
  }
  c->busy = 0;
  if (!ok || c->close) {
    close(c->fd);
    reconn++;
    dial(c);
  }
}

/* Events are "data:" at a line's start; the match goes on across reads. */
static void count_events(conn *c, const char *p, size_t n) {
  static const char pat[] = "\ndata:";
  if (!c->first) {
    c->em = 1;
    c->first = 1;
  }
  for (size_t i = 0; i < n; i++) {
    if (p[i] == pat[c->em]) {
      if (++c->em == 6) {
        c->evs++;
        c->em = 0;
      }
    } else {
      c->em = p[i] == '\n';
    }
    if (c->em == 0) {
      const char *q = memchr(p + i, '\n', n - i);
      if (!q) return;
      i = q - p;
      c->em = 1;
    }
  }
}

/* Takes bytes of a body; 1 = it is whole, -1 = it is no valid body. */
static int body(conn *c, char *p, size_t n) {
  if (!n) return 0;
  if (!c->tfirst) c->tfirst = now_ns();
  bytes += n;
  if (!c->chunked) {
    count_events(c, p, n);
    if (c->left >= 0) {
      c->left -= n;
      return c->left <= 0;
    }
    return 0;
  }
  while (n) {
    if (c->cst == 0) {
      char *q = memchr(p, '\n', n);
      size_t k = q ? (size_t)(q - p) : n;
      if (c->ll + k >= sizeof c->line) return -1;
      memcpy(c->line + c->ll, p, k);
      c->ll += k;
      if (!q) return 0;
      p = q + 1;
      n -= k + 1;
      c->line[c->ll] = 0;
      c->ll = 0;
      c->left = strtol(c->line, NULL, 16);
      c->cst = c->left ? 1 : 3;
    } else if (c->cst == 1) {
      size_t k = (size_t)c->left < n ? (size_t)c->left : n;
      count_events(c, p, k);
      p += k;
      n -= k;
      c->left -= k;
      if (!c->left) c->cst = 2;
    } else {
      char *q = memchr(p, '\n', n);
      if (!q) return 0;
      n -= q + 1 - p;
      p = q + 1;
      if (c->cst == 3) return 1;
      c->cst = 0;
    }
  }
  return 0;
}

static char *find_h(char *h, const char *name) {
  size_t n = strlen(name);
  for (char *p = strstr(h, "\r\n"); p; p = strstr(p + 2, "\r\n"))
    if (!strncasecmp(p + 2, name, n) && p[2 + n] == ':') return p + 3 + n;
  return NULL;
}

static void on_read(conn *c) {
  static char b[262144];
  ssize_t r = recv(c->fd, b, sizeof b, MSG_DONTWAIT);
  if (r < 0) {
    if (errno == EAGAIN) return;
    r = 0;
  }
  if (r == 0) {
    if (c->busy) {
      if (!c->hdr && !c->chunked && c->left < 0) {
        c->close = 1;
        done(c, 1);
      } else done(c, 0);
    } else {
      close(c->fd);
      reconn++;
      dial(c);
    }
    return;
  }
  char *p = b;
  size_t n = r;
  if (!c->busy) {
    errs++;
    return;
  }
  if (c->hdr) {
    size_t k = n < sizeof c->h - 1 - c->hl ? n : sizeof c->h - 1 - c->hl;
    int old = c->hl;
    memcpy(c->h + c->hl, p, k);
    c->hl += k;
    c->h[c->hl] = 0;
    char *e = strstr(c->h, "\r\n\r\n");
    if (!e) return;
    size_t used = e + 4 - c->h - old;
    e[2] = 0;
    c->hdr = 0;
    c->first = 0;
    c->status = atoi(c->h + 9);
    char *v;
    if ((v = find_h(c->h, "content-length"))) c->left = atol(v);
    else if ((v = find_h(c->h, "transfer-encoding"))) c->chunked = 1;
    if ((v = find_h(c->h, "connection")) && !strncasecmp(v + 1, "close", 5)) c->close = 1;
    p += used;
    n -= used;
    if (c->status / 100 != 2 && !sample[0]) snprintf(sample, sizeof sample, "%.*s", (int)(n < 400 ? n : 400), p);
    if (c->left == 0) {
      done(c, 1);
      return;
    }
  }
  int s = body(c, p, n);
  if (s) done(c, s > 0);
}
static void usage(void) {
  fprintf(stderr,
          "load PORT -c CONNECTIONS -d SECONDS [-n MOST] [-r RATE] [-p PATH] [-b BODY_FILE] [-H HEADER]...\n");
  exit(2);
}

static void parse_options(int argc, char **argv) {
  int o;
  if (argc < 2) usage();
  port = atoi(argv[1]);
  optind = 2;
  while ((o = getopt(argc, argv, "c:d:n:r:p:b:H:t:")) != -1) {
    if (o == 'c') nc = atoi(optarg);
    else if (o == 'd') opt.seconds = atof(optarg);
    else if (o == 'n') opt.most = atol(optarg);
    else if (o == 'r') opt.rate = atof(optarg);
    else if (o == 'p') opt.path = optarg;
    else if (o == 'b') opt.body_file = optarg;
    else if (o == 't') opt.wait_s = atof(optarg);
    else if (o == 'H' && strlen(opt.headers) + strlen(optarg) + 3 < sizeof opt.headers)
      strcat(strcat(opt.headers, optarg), "\r\n");
    else usage();
  }
}

static void build_request(void) {
  char *body = NULL;
  long size = 0;
  if (opt.body_file) {
    FILE *f = fopen(opt.body_file, "rb");
    if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0) {
      perror(opt.body_file);
      exit(2);
    }
    rewind(f);
    body = malloc(size + 1);
    if (fread(body, 1, size, f) != (size_t)size) exit(2);
    fclose(f);
  }
  req = malloc(size + sizeof opt.headers + strlen(opt.path) + 512);
  reql = sprintf(req,
                 "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: bench/1\r\naccept: */*\r\n"
                 "content-type: application/json\r\n%scontent-length: %ld\r\n\r\n",
                 opt.path, port, opt.headers, size);
  if (size) memcpy(req + reql, body, size);
  reql += size;
  free(body);
}

static int busy_count(void) {
  int n = 0;
  for (int i = 0; i < nc; i++) n += cs[i].busy;
  return n;
}

static conn *idle_connection(void) {
  for (int i = 0; i < nc; i++)
    if (!cs[i].busy) return &cs[i];
  return NULL;
}

/* Sends until the time is over or -n are sent, then waits for the last answers; returns seconds. */
static double run(void) {
  long long t0 = now_ns(), end = t0 + (long long)(opt.seconds * 1e9), limit = end + (long long)(opt.wait_s * 1e9);
  long long due = t0, step = opt.rate > 0 ? (long long)(1e9 / opt.rate) : 0;
  long sent = 0;
  struct epoll_event es[512];
#define MAY_SEND (opt.most < 0 || sent < opt.most)
  if (!step)
    for (int i = 0; i < nc && MAY_SEND; i++, sent++) fire(&cs[i], now_ns());
  for (;;) {
    long long t = now_ns(), wait = 100000000;
    int is_over = t >= end || !MAY_SEND;
    if (is_over) {
      int busy = busy_count();
      if (!busy) return (t - t0) / 1e9;
      if (t > limit) {
        errs += busy;
        return (t - t0) / 1e9;
      }
    } else {
      conn *c = NULL;
      while (step && due <= t && MAY_SEND && (c = idle_connection())) {
        fire(c, due);
        due += step;
        sent++;
      }
      if (end - t < wait) wait = end - t;
      if (step && idle_connection() && due - t < wait) wait = due > t ? due - t : 0;
    }
    struct timespec ts = {0, wait};
    int n = epoll_pwait2(ep, es, 512, &ts, NULL);
    for (int i = 0; i < n; i++) {
      conn *c = es[i].data.ptr;
      on_read(c);
      if (!step && !c->busy && now_ns() < end && MAY_SEND) {
        fire(c, now_ns());
        sent++;
      }
    }
  }
}

static void report(double seconds) {
  qsort(lat, nl, 8, cmp);
  qsort(ttfb, nl, 8, cmp);
  for (char *s = sample; *s; s++)
    if (*s == '"' || *s == '\\' || *s < 32) *s = ' ';
  printf("{\"n\":%zu,\"errors\":%lu,\"bad_status\":%lu,\"reconnects\":%lu,\"secs\":%.3f,\"rps\":%.1f,", nl, errs,
         st_bad, reconn, seconds, nl / seconds);
  printf("\"events\":%lu,\"eps\":%.1f,\"mb\":%.2f,", events, events / seconds, bytes / 1e6);
  printf("\"lat_p50\":%.1f,\"lat_p90\":%.1f,\"lat_p99\":%.1f,\"lat_max\":%.1f,", pct(lat, nl, .5), pct(lat, nl, .9),
         pct(lat, nl, .99), pct(lat, nl, 1));
  printf("\"ttfb_p50\":%.1f,\"ttfb_p90\":%.1f,\"ttfb_p99\":%.1f,\"sample\":\"%s\"}\n", pct(ttfb, nl, .5),
         pct(ttfb, nl, .9), pct(ttfb, nl, .99), sample);
}

int main(int argc, char **argv) {
  parse_options(argc, argv);
  build_request();
  cap = 1 << 16;
  lat = malloc(cap * 8);
  ttfb = malloc(cap * 8);
  ep = epoll_create1(0);
  cs = calloc(nc, sizeof *cs);
  for (int i = 0; i < nc; i++) dial(&cs[i]);
  report(run());
}
