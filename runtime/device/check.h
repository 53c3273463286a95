/* Checks before anything runs. */
#ifndef SPLITTER_CHECK_H
#define SPLITTER_CHECK_H

/* Ends the node when the compiled tables contradict themselves. */
void check_tables(void);

/* Ends the node when this processor lacks a feature in node_tables.cpu_features. */
void check_processor(void);

#endif
