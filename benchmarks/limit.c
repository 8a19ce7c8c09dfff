/* The limit: a server that does nothing but the `send()`s of a chat, to compare real servers with.
 *
 * Speaks as much IRC as the load generator needs (NICK, USER, JOIN, PRIVMSG) on 127.0.0.1, and checks nothing: no
 * limits, no modes, no accounts, no memory of what was said, nothing survives anything. All that one wake-up of epoll
 * has brought is put together by room, and every member gets it in one `send()`. That is as little as a server can do
 * that gives every member every line in one order; whatever a real one needs beyond it is the price of what it offers.
 *
 * usage: limit PORT. Single-threaded; ends on any signal.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 65536, ROOMS = 16384, EVENTS = 1024, INPUT = 64 * 1024, NAME = 32 };

struct piece { /* whose line it is, and where it ends in the room's bytes */
    struct client *by;
    size_t end;
};

struct room {
    char name[NAME];
    struct client **members;
    size_t member_count, member_room;
    char *bytes;
    size_t length, space;
    struct piece *pieces;
    size_t piece_count, piece_room;
};

struct client {
    int fd;
    char nick[NAME];
    struct room *room;
    int said; /* in this wake-up */
    char *unfinished;
    size_t unfinished_length;
    char *unsent;
    size_t unsent_length;
};

static struct client *clients[CLIENTS]; /* by descriptor */
static struct room rooms[ROOMS];
static size_t room_count, dirty_count;
static struct room *dirty[ROOMS];
static int epoll;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void *grown(void *memory, size_t *room, size_t needed, size_t each)
{
    if (needed <= *room)
        return memory;
    while (*room < needed)
        *room = *room ? *room * 2 : 16;
    memory = realloc(memory, *room * each);
    if (!memory)
        fail("realloc");
    return memory;
}

static void drop(struct client *client)
{
    if (client->room) {
        struct room *room = client->room;
        for (size_t i = 0; i < room->member_count; i++)
            if (room->members[i] == client) {
                room->members[i] = room->members[--room->member_count];
                break;
            }
    }
    clients[client->fd] = NULL;
    close(client->fd);
    free(client->unfinished);
    free(client->unsent);
    free(client);
}

static void watch(struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN | (client->unsent_length ? EPOLLOUT : 0), .data.fd = client->fd};
    epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
}

static void give(struct client *client, const char *data, size_t length)
{
    ssize_t sent = 0;
    if (!client->unsent_length) {
        sent = send(client->fd, data, length, MSG_NOSIGNAL);
        if (sent == (ssize_t)length)
            return;
        if (sent < 0) {
            if (errno != EAGAIN)
                return; /* found where it is read */
            sent = 0;
        }
    }
    int was_waiting = client->unsent_length != 0;
    length -= (size_t)sent;
    client->unsent = realloc(client->unsent, client->unsent_length + length);
    if (!client->unsent)
        fail("realloc");
    memcpy(client->unsent + client->unsent_length, data + sent, length);
    client->unsent_length += length;
    if (!was_waiting)
        watch(client);
}

static void flush(struct client *client)
{
    char *data = client->unsent;
    size_t length = client->unsent_length;
    client->unsent = NULL;
    client->unsent_length = 0;
    give(client, data, length);
    free(data);
    if (!client->unsent_length)
        watch(client);
}

static struct room *room_of(const char *name)
{
    for (size_t i = 0; i < room_count; i++)
        if (!strcmp(rooms[i].name, name))
            return &rooms[i];
    if (room_count == ROOMS)
        exit(1);
    snprintf(rooms[room_count].name, NAME, "%s", name);
    return &rooms[room_count++];
}

static void append(struct room *room, const char *data, size_t length)
{
    room->bytes = grown(room->bytes, &room->space, room->length + length, 1);
    memcpy(room->bytes + room->length, data, length);
    room->length += length;
}

static void say(struct client *client, const char *line, size_t length)
{
    struct room *room = client->room;
    char head[2 * NAME];
    if (!room)
        return;
    if (!room->length)
        dirty[dirty_count++] = room;
    append(room, head, (size_t)snprintf(head, sizeof head, ":%s!u@h ", client->nick));
    append(room, line, length);
    append(room, "\r\n", 2);
    room->pieces = grown(room->pieces, &room->piece_room, room->piece_count + 1, sizeof *room->pieces);
    room->pieces[room->piece_count++] = (struct piece){client, room->length};
    client->said = 1;
}

static void line(struct client *client, char *text, size_t length)
{
    char answer[8 * NAME];
    if (length > 8 && !memcmp(text, "PRIVMSG ", 8)) {
        say(client, text, length);
        return;
    }
    text[length] = 0; /* over its CR or LF */
    if (!strncmp(text, "NICK ", 5)) {
        snprintf(client->nick, NAME, "%s", text + 5);
    } else if (!strncmp(text, "USER ", 5)) {
        give(client, answer, (size_t)snprintf(answer, sizeof answer, ":limit 001 %s :hello\r\n", client->nick));
    } else if (!strncmp(text, "JOIN ", 5) && !client->room) {
        struct room *room = client->room = room_of(text + 5);
        room->members = grown(room->members, &room->member_room, room->member_count + 1, sizeof *room->members);
        room->members[room->member_count++] = client;
        give(client, answer,
             (size_t)snprintf(answer, sizeof answer, ":%s!u@h JOIN %s\r\n:limit 366 %s %s :end\r\n", client->nick,
                              room->name, client->nick, room->name));
    }
}

static void take(struct client *client)
{
    static char input[2 * INPUT];
    size_t held = client->unfinished_length;
    if (held)
        memcpy(input, client->unfinished, held);
    ssize_t got = recv(client->fd, input + held, INPUT, 0);
    if (got <= 0) {
        if (!got || errno != EAGAIN)
            drop(client);
        return;
    }
    char *start = input, *end = input + held + got, *feed;
    while ((feed = memchr(start, '\n', (size_t)(end - start)))) {
        line(client, start, (size_t)(feed - start) - (feed > start && feed[-1] == '\r'));
        start = feed + 1;
    }
    client->unfinished_length = (size_t)(end - start) < INPUT ? (size_t)(end - start) : 0;
    if (client->unfinished_length) {
        client->unfinished = realloc(client->unfinished, client->unfinished_length);
        memcpy(client->unfinished, start, client->unfinished_length);
    }
}

static void deliver(struct room *room)
{
    static char *others;
    static size_t others_space;
    for (size_t i = 0; i < room->member_count; i++) {
        struct client *member = room->members[i];
        if (!member->said) {
            give(member, room->bytes, room->length);
            continue;
        }
        size_t length = 0, start = 0;
        others = grown(others, &others_space, room->length, 1);
        for (size_t j = 0; j < room->piece_count; j++) {
            struct piece *piece = &room->pieces[j];
            if (piece->by != member) {
                memcpy(others + length, room->bytes + start, piece->end - start);
                length += piece->end - start;
            }
            start = piece->end;
        }
        if (length)
            give(member, others, length);
        member->said = 0;
    }
    room->length = room->piece_count = 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (argc != 2) {
        fprintf(stderr, "usage: limit PORT\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        fail("listen");
    epoll = epoll_create1(0);
    event.data.fd = listener;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (fd >= CLIENTS || !(clients[fd] = calloc(1, sizeof **clients)))
                        fail("accept");
                    clients[fd]->fd = fd;
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    event.data.fd = fd;
                    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
                }
                continue;
            }
            if (clients[fd] && events[i].events & EPOLLOUT)
                flush(clients[fd]);
            if (clients[fd] && events[i].events & ~(uint32_t)EPOLLOUT)
                take(clients[fd]);
        }
        while (dirty_count)
            deliver(dirty[--dirty_count]);
    }
}
