/* Between the files of tracking: connections (track.c), sends and answers (track_send.c), the log
 * of both (track_log.c).
 */
#ifndef HB_TRACK_H
#define HB_TRACK_H

#include "runtime.h"

#include <sys/types.h>

/* The ends of a connection: the server's; the program's, whatever descriptors that has. */
struct hb_ends {
    int server;
    int program; /* Kept for the next schedule; -1: not. */
    ino_t inode; /* Of the program's. */
    int type;
};

struct hb_connection {
    struct hb_ends ends;
    uint32_t id;
    struct hb_thread *thread; /* The server's; NULL while sends are taken at once. */
    uint32_t waiting;         /* Sends that it has not taken. */
    uint64_t waiting_bytes;
    uint64_t at;   /* Where in the log the oldest of these is, or later. */
    bool untold;   /* It took something since it was last asked for answers. */
    bool deaf;     /* The program does not read its answers. */
    bool shut;     /* By the program. */
    bool worn;     /* The program's end is not as it was: answers came in, or options were set. */
};

extern struct hb_connection hb_connections[HB_MAX_CONNECTIONS];
extern uint32_t hb_connection_count;

/* The connection that a descriptor stands for; NULL: it is none. */
struct hb_connection *hb_track_find(int fd);
/* Brings what has come out of the other end into the log. Of swift threads nothing does that was
 * not noted already. */
void hb_track_gather(struct hb_connection *connection);

/* heisenbed was asked in this process: answers may have been left. */
extern bool hb_track_asked;

/* ---- The log ---- */

/* What comes now is no part of the schedule: a target is given back. */
extern bool hb_track_settled;

bool hb_track_is_on(void);
void hb_track_lock(void);
void hb_track_unlock(void);
/* The number of the calling thread. */
uint16_t hb_track_caller(void);
uint64_t hb_track_padded(uint64_t bytes);
/* Room for a record and `bytes` bytes; NULL if there is none. */
struct hb_track_record *hb_track_room_for(uint64_t bytes);
/* The record in that room is whole; its number. */
uint32_t hb_track_append(struct hb_track_record *record);
/* Both at once. */
uint32_t hb_track_note(struct hb_track_record given, const void *payload);

#endif
