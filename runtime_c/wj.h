/* The C runtime's own declarations, by subject. Who owns what: a wj_store owns everything made in it but memories, of which
 * it is a member; a wj_entry lives on the C stack of the thread that entered wasm; a wj_thread is thread-local. */
#ifndef WJ_H
#define WJ_H

#include "wj_base.h"

#include "wj_contract.h"
#include "wj_entry.h"
#include "wj_memory.h"
#include "wj_store.h"
#include "wj_table.h"
#include "wj_thread.h"
#include "wj_tiering.h"

#endif
