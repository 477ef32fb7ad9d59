/* Mock OpenAI upstream: one thread, epoll, prebuilt answers, as little CPU per request as possible.
 *   ./mock PORT
 * POST anything: if the body holds "stream":true -> SSE (role chunk, N content chunks, finish chunk,
 * usage chunk when include_usage is asked for, [DONE]), each event one send() and one HTTP chunk;
 * else one JSON completion of about 1 KB with usage.
 * GET /__set?chunks=100&gap_us=0&think_us=0  changes the mode for requests that start after it.
 * GET /__stats  JSON counters. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct conn {
  int fd;
  size_t len, cap;
  char *buf;
  int busy, stream, usage, left, state; /* state: 0 think, 1 role, 2 content, 3 finish, 4 usage, 5 done */
  long gap;
  long long due;
  struct conn *next, *prev;
  int queued;
  char *out;
  size_t olen, ocap, ooff;
  int want_w;
} conn;
static int ep;
static long g_chunks = 100, g_gap = 0, g_think = 0;
static unsigned long n_req, n_stream, n_conn;
/* FIFO by due time: [0] think, [1] gap; delays are constant, so appending keeps the order. */
static conn *qh[2], *qt[2];
static char json_resp[8192];
static size_t json_len;
static char sse_head[2048];
static size_t sse_head_len;
static char ev_role[1024], ev_tok[1024], ev_fin[1024], ev_usage[1024], ev_done[64];
static size_t l_role, l_tok, l_fin, l_usage, l_done;

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static size_t ev(char *o, const char *data) {
  char t[1024];
  int n = snprintf(t, sizeof t, "data: %s\n\n", data);
  return sprintf(o, "%x\r\n%s\r\n", n, t);
}

static const char *HD = "date: Mon, 23 Nov 2026 06:00:00 GMT\r\nserver: mock\r\nx-request-id: "
                        "req_0123456789abcdef0123456789abcdef\r\n"
                        "openai-organization: org-bench\r\nopenai-processing-ms: 12\r\nopenai-version: "
                        "2020-10-01\r\nx-ratelimit-limit-requests: 30000\r\n"
                        "x-ratelimit-remaining-requests: 29999\r\nx-ratelimit-limit-tokens: "
                        "150000000\r\nx-ratelimit-remaining-tokens: 149999000\r\n";
static void build(void) {
  char body[4096];
  int n = snprintf(body, sizeof body,
                   "{\"id\":\"chatcmpl-BenchMock0123456789abcdefghij\",\"object\":\"chat.completion\","
                   "\"created\":1795413600,\"model\":\"gpt-4o-mini-2024-07-18\","
                   "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"A reverse proxy "
                   "accepts requests on behalf of one or more servers. It can "
                   "hold connections open, share load, add or remove headers, and keep a record of what went "
                   "past. For a language model the answer can be long and can "
                   "arrive in small pieces, so the proxy must hand each piece on as soon as it has it and must "
                   "not wait for the end before it starts. It should also keep "
                   "a copy for later study without slowing the caller "
                   "down.\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
                   "\"usage\":{\"prompt_tokens\":142,\"completion_tokens\":87,\"total_tokens\":229,\"prompt_"
                   "tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
                   "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_"
                   "prediction_tokens\":0,\"rejected_prediction_tokens\":0}},"
                   "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench00000\"}");
  json_len =
      snprintf(json_resp, sizeof json_resp,
               "HTTP/1.1 200 OK\r\n%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", HD, n, body);
  sse_head_len = snprintf(sse_head, sizeof sse_head,
                          "HTTP/1.1 200 OK\r\n%scontent-type: text/event-stream; "
                          "charset=utf-8\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n",
                          HD);
#define CH                                                                                                           \
  "{\"id\":\"chatcmpl-BenchMock0123456789abcdefghij\",\"object\":\"chat.completion.chunk\",\"created\":"             \
  "1795413600,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":"             \
  "\"fp_bench00000\","
  l_role = ev(ev_role, CH "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\","
                          "\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}");
  l_tok = ev(ev_tok, CH "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" "
                        "token\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}");
  l_fin = ev(ev_fin, CH "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}"
                        "],\"usage\":null}");
  l_usage = ev(ev_usage, CH "\"choices\":[],\"usage\":{\"prompt_tokens\":142,\"completion_tokens\":100,"
                            "\"total_tokens\":242,\"prompt_tokens_details\":{\"cached_tokens\":0},"
                            "\"completion_tokens_details\":{\"reasoning_tokens\":0}}}");
  l_done = ev(ev_done, "[DONE]");
  memcpy(ev_done + l_done, "0\r\n\r\n", 5);
  l_done += 5;
}

static void q_add(conn *c, int q, long long due) {
  c->due = due;
  c->queued = q + 1;
  c->next = NULL;
  c->prev = qt[q];
  if (qt[q]) qt[q]->next = c;
  else qh[q] = c;
  qt[q] = c;
}

static void q_del(conn *c) {
  int q = c->queued - 1;
  if (q < 0) return;
  if (c->prev) c->prev->next = c->next;
  else qh[q] = c->next;
  if (c->next) c->next->prev = c->prev;
  else qt[q] = c->prev;
  c->queued = 0;
}

static void c_close(conn *c) {
  q_del(c);
  close(c->fd);
  free(c->buf);
  free(c->out);
  free(c);
  n_conn--;
}

static int put(conn *c, const char *p, size_t n) { /* -1 on error */
  if (c->olen == c->ooff) {
    ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (w == (ssize_t)n) return 0;
    if (w < 0) {
      if (errno != EAGAIN) return -1;
      w = 0;
    }
    p += w;
    n -= w;
    c->olen = c->ooff = 0;
  }
  if (c->olen + n > c->ocap) {
    c->ocap = (c->olen + n) * 2;
    c->out = realloc(c->out, c->ocap);
  }
  memcpy(c->out + c->olen, p, n);
  c->olen += n;
  if (!c->want_w) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    c->want_w = 1;
  }
  return 0;
}

static int step(conn *c) { /* run the answer as far as it goes; -1 on error */
  for (;;) {
    if (!c->stream) {
      c->busy = 0;
      return put(c, json_resp, json_len);
    }
    const char *p;
    size_t l;
    switch (c->state) {
    case 1:
      if (put(c, sse_head, sse_head_len)) return -1;
      p = ev_role;
      l = l_role;
      c->state = c->left > 0 ? 2 : 3;
      break;
    case 2:
      p = ev_tok;
      l = l_tok;
      if (--c->left <= 0) c->state = 3;
      break;
    case 3:
      p = ev_fin;
      l = l_fin;
      c->state = c->usage ? 4 : 5;
      break;
    case 4:
      p = ev_usage;
      l = l_usage;
      c->state = 5;
      break;
    default:
      c->busy = 0;
      return put(c, ev_done, l_done);
    }
    if (put(c, p, l)) return -1;
    if (c->gap > 0 && (c->state == 2 || c->state == 3)) {
      q_add(c, 1, now_ns() + c->gap * 1000);
      return 0;
    }
  }
}

static char *find_h(char *h, const char *name) { /* case-insensitive header search inside a NUL-ended head */
  size_t n = strlen(name);
  for (char *p = strstr(h, "\r\n"); p; p = strstr(p + 2, "\r\n"))
    if (!strncasecmp(p + 2, name, n) && p[2 + n] == ':') return p + 3 + n;
  return NULL;
}

static int handle(conn *c) { /* returns -1 to close */
  while (!c->busy && c->len) {
    char *e = memmem(c->buf, c->len, "\r\n\r\n", 4);
    if (!e) return 0;
    size_t hl = e - c->buf + 4;
    char save = c->buf[hl - 1];
    e[2] = 0;
    char *cl = find_h(c->buf, "content-length"), *te = cl ? NULL : find_h(c->buf, "transfer-encoding");
    size_t total;
    char *body = c->buf + hl;
    size_t bl = 0;
    if (te) {
      e[2] = '\r';
      c->buf[hl - 1] = save;
      char *z = memmem(body, c->len - hl, "0\r\n\r\n", 5);
      if (!z) return 0;
      bl = z - body;
      total = hl + bl + 5;
    } else {
      bl = cl ? strtoul(cl, NULL, 10) : 0;
      e[2] = '\r';
      total = hl + bl;
      if (c->len < total) return 0;
    }
    if (!strncmp(c->buf, "GET ", 4)) {
      char b[512], r[1024];
      int n;
      if (!strncmp(c->buf + 4, "/__set", 6)) {
        char *s;
        e[2] = 0;
        char *ln = strstr(c->buf, "\r\n");
        *ln = 0;
        if ((s = strstr(c->buf, "chunks="))) g_chunks = atol(s + 7);
        if ((s = strstr(c->buf, "gap_us="))) g_gap = atol(s + 7);
        if ((s = strstr(c->buf, "think_us="))) g_think = atol(s + 9);
      }
      n = snprintf(b, sizeof b,
                   "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\",\"object\":\"model\"}],\"requests\":%lu,"
                   "\"streams\":%lu,\"conns\":%lu,\"chunks\":%ld,\"gap_us\":%ld,\"think_us\":%ld}",
                   n_req, n_stream, n_conn, g_chunks, g_gap, g_think);
      int m = snprintf(r, sizeof r,
                       "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, b);
      if (put(c, r, m)) return -1;
    } else {
      n_req++;
      c->stream = memmem(body, bl, "\"stream\":true", 13) || memmem(body, bl, "\"stream\": true", 14);
      c->usage = c->stream && memmem(body, bl, "include_usage", 13);
      c->left = g_chunks;
      c->gap = g_gap;
      c->state = 1;
      c->busy = 1;
      n_stream += c->stream;
      if (g_think > 0) q_add(c, 0, now_ns() + g_think * 1000);
      else if (step(c)) return -1;
    }
    memmove(c->buf, c->buf + total, c->len - total);
    c->len -= total;
  }
  return 0;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  build();
  int port = argc > 1 ? atoi(argv[1]) : 9100, one = 1;
  int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) {
    perror("bind");
    return 1;
  }
  ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
  struct epoll_event es[512];
  for (;;) {
    struct timespec ts, *tp = NULL;
    long long d = -1, t = 0;
    int q;
    for (q = 0; q < 2; q++)
      if (qh[q] && (d < 0 || qh[q]->due < d)) d = qh[q]->due;
    if (d >= 0) {
      t = d - now_ns();
      if (t < 0) t = 0;
      ts.tv_sec = t / 1000000000LL;
      ts.tv_nsec = t % 1000000000LL;
      tp = &ts;
    }
    int n = epoll_pwait2(ep, es, 512, tp, NULL);
    for (int i = 0; i < n; i++) {
      conn *c = es[i].data.ptr;
      if (!c) {
        int fd;
        while ((fd = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
          setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          c = calloc(1, sizeof *c);
          c->fd = fd;
          c->cap = 16384;
          c->buf = malloc(c->cap + 1);
          struct epoll_event x = {.events = EPOLLIN, .data.ptr = c};
          epoll_ctl(ep, EPOLL_CTL_ADD, fd, &x);
          n_conn++;
        }
        continue;
      }
      if (es[i].events & EPOLLOUT) {
        ssize_t w = send(c->fd, c->out + c->ooff, c->olen - c->ooff, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (w < 0 && errno != EAGAIN) {
          c_close(c);
          continue;
        }
        if (w > 0) c->ooff += w;
        if (c->ooff == c->olen) {
          c->ooff = c->olen = 0;
          c->want_w = 0;
          struct epoll_event x = {.events = EPOLLIN, .data.ptr = c};
          epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &x);
        }
      }
      if (es[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (c->cap - c->len < 4096) {
          c->cap *= 2;
          c->buf = realloc(c->buf, c->cap + 1);
        }
        ssize_t r = recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
        if (r == 0 || (r < 0 && errno != EAGAIN)) {
          c_close(c);
          continue;
        }
        if (r > 0) {
          c->len += r;
          if (handle(c)) {
            c_close(c);
            continue;
          }
        }
      }
    }
    long long nw = 0;
    for (q = 0; q < 2; q++)
      while (qh[q]) {
        if (!nw) nw = now_ns();
        conn *c = qh[q];
        if (c->due > nw) break;
        q_del(c);
        if (step(c) || (!c->busy && c->len && handle(c))) c_close(c);
      }
  }
}
