#include "engine/reason.h"

#include "base/compiler.h"

struct reason_row {
	const char *word, *meaning;
};

static const struct reason_row rows[REASON_COUNT] = {
	[REASON_NONE] = { "none", "still open" },
#define REASON_ROW(id, word, meaning) [REASON_##id] = { word, meaning },
	REASON_TABLE(REASON_ROW)
#undef REASON_ROW
};

const char *
reason_word(enum reason r)
{
	ASSERT((unsigned)r < REASON_COUNT);
	return rows[r].word;
}

const char *
reason_meaning(enum reason r)
{
	ASSERT((unsigned)r < REASON_COUNT);
	return rows[r].meaning;
}
