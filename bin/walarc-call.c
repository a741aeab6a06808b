/*
 * walarc-call PLACE WALARC ARGUMENT...
 *
 * Hands a call of PostgreSQL to the process beside the server that has prepared for it (the
 * attendant, src/ahead/attendant.ts), and becomes `WALARC ARGUMENT...` unless that says that the
 * call is done. To ask costs a millisecond, to start the client ten.
 *
 * Nothing is known or decided here. It ends with a status when an attendant has said which, in so
 * many words; whatever else is said, and every failure, starts the client as if this program did not
 * exist. An attendant prepares a segment, but the rename that delivers it is done here: one
 * that stood still and wakes up later can no longer change PostgreSQL's files.
 *
 *     PLACE/KEY, PLACE.KEY an attendant's directory, and its socket
 *     to it                length of the rest (4 bytes, little endian), DEVICE:INODE of the working
 *                          directory, the arguments, an empty one, the variables WALARC_*; each
 *                          with a 0 behind it
 *     from it              "." I am at it
 *                          "e" STATUS: end with that status (1 byte)
 *                          "r" FROM 0 TO 0: rename that file, and end with 0
 *                          anything else, or the end: not by me
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CALL_BYTES_MAX 65536
#define ANSWER_BYTES_MAX 1024
/* An attendant gives a sign of life five times in it. */
#define SILENCE_SECONDS 1
/* What a failure to start anything must look like: see bin/walarc. Above 125 it ends a standby. */
#define STATUS_FAILED 2
#define STATUS_STOP 200
#define NOT_BY_THEM (-1)

extern char **environ;

static char call[CALL_BYTES_MAX];
static size_t call_bytes = 4;

static int add(const char *text)
{
    size_t bytes = strlen(text) + 1;
    if (bytes > sizeof call - call_bytes)
        return 0;
    memcpy(call + call_bytes, text, bytes);
    call_bytes += bytes;
    return 1;
}

static int compose(char **arguments)
{
    struct stat here;
    char directory[64];
    if (stat(".", &here) != 0)
        return 0;
    snprintf(directory, sizeof directory, "%ju:%ju", (uintmax_t)here.st_dev, (uintmax_t)here.st_ino);
    if (!add(directory))
        return 0;
    for (char **argument = arguments; *argument != NULL; argument++)
        if (**argument == '\0' || !add(*argument))
            return 0;
    if (!add(""))
        return 0;
    for (char **variable = environ; *variable != NULL; variable++)
        if (strncmp(*variable, "WALARC_", 7) == 0 && !add(*variable))
            return 0;
    uint32_t rest = (uint32_t)(call_bytes - 4);
    for (int byte = 0; byte < 4; byte++)
        call[byte] = (char)(rest >> (8 * byte));
    return 1;
}

/* A connection to an attendant of the same account, or -1. */
static int reach(const char *place, const char *key)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s.%s", place, key);
    if (length < 0 || (size_t)length >= sizeof address.sun_path)
        return -1;
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0)
        return -1;
    struct timeval silence = {.tv_sec = SILENCE_SECONDS};
    struct ucred peer;
    socklen_t peer_bytes = sizeof peer;
    if (setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence) == 0 &&
        setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) == 0 &&
        connect(connection, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == 0 &&
        peer.uid == geteuid())
        return connection;
    close(connection);
    return -1;
}

/* Reads on to the second 0; whether the file is where it belongs. */
static int deliver(int connection, char *answer, size_t bytes)
{
    for (;;) {
        char *end = memchr(answer, '\0', bytes);
        char *to = end == NULL ? NULL : end + 1;
        if (to != NULL && memchr(to, '\0', bytes - (size_t)(to - answer)) != NULL)
            return rename(answer, to) == 0;
        ssize_t more = recv(connection, answer + bytes, ANSWER_BYTES_MAX - bytes, 0);
        if (more <= 0)
            return 0;
        bytes += (size_t)more;
    }
}

/* The status to end with, or NOT_BY_THEM. */
static int status_from(int connection)
{
    char answer[ANSWER_BYTES_MAX];
    if (send(connection, call, call_bytes, MSG_NOSIGNAL) != (ssize_t)call_bytes)
        return NOT_BY_THEM;
    char word = '.';
    while (word == '.')
        if (recv(connection, &word, 1, 0) != 1)
            return NOT_BY_THEM;
    ssize_t bytes = recv(connection, answer, sizeof answer, 0);
    if (word == 'e' && bytes == 1)
        return (unsigned char)answer[0];
    if (word == 'r' && bytes > 0 && deliver(connection, answer, (size_t)bytes))
        return 0;
    return NOT_BY_THEM;
}

static int status_of(const char *place)
{
    DIR *keys = opendir(place);
    if (keys == NULL)
        return NOT_BY_THEM;
    struct dirent *key;
    int status = NOT_BY_THEM;
    while (status == NOT_BY_THEM && (key = readdir(keys)) != NULL) {
        if (key->d_name[0] == '.')
            continue;
        int connection = reach(place, key->d_name);
        if (connection < 0)
            continue;
        status = status_from(connection);
        close(connection);
    }
    closedir(keys);
    return status;
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int count, char **arguments)
{
    if (count < 4) {
        fprintf(stderr, "walarc-call is no command for people: use walarc\n");
        return STATUS_FAILED;
    }
    long begun_ms = now_ms();
    int status = compose(arguments + 3) ? status_of(arguments[1]) : NOT_BY_THEM;
    if (status != NOT_BY_THEM)
        return status;
    /* It counts against the client's deadline, and says that nobody is to be asked again. */
    char waited[24];
    snprintf(waited, sizeof waited, "%ld", now_ms() - begun_ms);
    if (setenv("WALARC_WAITED_MS", waited, 1) == 0)
        execv(arguments[2], arguments + 2);
    fprintf(stderr, "walarc: %s: local: cannot start %s: %s\n", arguments[3], arguments[2],
            strerror(errno));
    int stops = strcmp(arguments[3], "fetch") == 0 && access("standby.signal", F_OK) != 0;
    return stops ? STATUS_STOP : STATUS_FAILED;
}
