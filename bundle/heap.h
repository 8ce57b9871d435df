/* The memory that Python allocates: from the snapshot's heap while the executable is built, from libc afterwards. */
#ifndef HEAP_H
#define HEAP_H

#include <stddef.h>

/* In the file, and as it was left when the file was written. */
#define SAVED __attribute__((section("snapshot.data")))

#define PAGE 4096

/* What a process does: start the interpreter for the snapshot, or continue from it. */
extern int resumed;

void heap_open(const char *plan);
void heap_allocate_objects(void);
void heap_allocate_arenas(void);
void heap_close(void);
char *heap_start(void);
char *heap_end(void);
int heap_is_garbage(const void *p);
int heap_is_complete(const char *plan);
int heap_is_sorted(void);
char *heap_apart(size_t *size);
void heap_sort(const char *plan, const unsigned char *uses);

#endif
