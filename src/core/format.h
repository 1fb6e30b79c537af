/*
 * format.h
 *	  The packed image: a model as the kernels read it, the same bytes on every CPU.
 *
 * Little-endian.  Offsets only, no pointers: an image is mapped wherever there
 * is room.  Every section starts at a multiple of 64; padding is zero.
 *
 *		offset  size  meaning
 *			 0     8  magic "lat-pack"
 *			 8     4  LAT_FORMAT_VERSION
 *			12     4  LatPrecision
 *			16     8  size of the whole image in bytes
 *			24     4  number of sections
 *			28     4  zero
 *			32    96  LatConfig (24 fields of 4 bytes)
 *		   128  24 n  sections, in the order of LatSectionKind, then by layer
 *
 * Sections, by contents:
 *
 *	 labels		 u32 offsets (labels + 1), then the names in UTF-8, end to end
 *	 vocabulary	 see vocabulary.c
 *	 embedding	 int8: s8 (rows, stride), then at the next multiple of 64 f32 scales (rows);
 *				 fp32: f32 (rows, stride); stride = width rounded up to 16
 *	 norm		 f32 gamma (Hp), then f32 beta (Hp)	(Ep for the embedding norm)
 *	 linear		 LatLinearHeader (64 bytes), then
 *				 int8: s8 (Np/16, Kp/4, 16, 4), s32 column sums (Np), f32 scales (Np), f32 bias (Np)
 *				 fp32: f32 (Np/16, K, 16), f32 bias (Np)
 *
 * In the int8 layout 16 columns by 4 rows are 64 bytes: one zmm, two ymm, four
 * NEON registers, one AMX tile row.  Element (k, n) lies at byte
 * ((n / 16) * (Kp / 4) + k / 4) * 64 + (n % 16) * 4 + k % 4.
 *
 * In the qkv linear Q, K and V each start at a multiple of 16 columns: output
 * column c of Q is column c, of K Hp + c, of V 2 Hp + c; n = Np = 3 Hp.
 *
 * head_output (H to labels) is fp32 in both precisions: it is tiny, and the last to lose bits.
 */
#ifndef LAT_FORMAT_H
#define LAT_FORMAT_H

#include "lat.h"

#define LAT_FORMAT_MAGIC "lat-pack"
#define LAT_FORMAT_VERSION 1
#define LAT_ALIGNMENT 64
#define LAT_PANEL 16			/* columns of a panel */

#define LAT_ROUND_UP(x, to) (((x) + (to) - 1) / (to) * (to))

typedef struct LatImageHeader
{
	char		magic[8];
	uint32_t	version;
	uint32_t	precision;
	uint64_t	size;
	uint32_t	sections;
	uint32_t	zero;
	LatConfig	config;
} LatImageHeader;

typedef enum LatSectionKind
{
	LAT_SECTION_LABELS,
	LAT_SECTION_VOCABULARY,
	LAT_SECTION_WORDS,
	LAT_SECTION_POSITIONS,
	LAT_SECTION_SEGMENTS,		/* absent if config.segments is 0 */
	LAT_SECTION_EMBEDDING_NORM,
	LAT_SECTION_EMBEDDING_PROJECTION,	/* absent if E = H */
	LAT_SECTION_QKV,			/* from here to OUTPUT_NORM: one a layer */
	LAT_SECTION_ATTENTION_OUTPUT,
	LAT_SECTION_ATTENTION_NORM,
	LAT_SECTION_FEED_FORWARD_IN,
	LAT_SECTION_FEED_FORWARD_OUT,
	LAT_SECTION_OUTPUT_NORM,
	LAT_SECTION_HEAD_DENSE,		/* absent if config.head_activation is LAT_IDENTITY */
	LAT_SECTION_HEAD_OUTPUT,	/* absent for LAT_EMBED */
	LAT_SECTION_KINDS
} LatSectionKind;

typedef struct LatSection
{
	uint32_t	kind;			/* LatSectionKind */
	uint32_t	layer;			/* 0 where there is one only */
	uint64_t	offset;			/* from the start of the image, a multiple of 64 */
	uint64_t	size;			/* in bytes, without padding */
} LatSection;

typedef struct LatLinearHeader
{
	int32_t		layout;			/* LatPrecision */
	int32_t		k;
	int32_t		k_padded;
	int32_t		n;
	int32_t		n_padded;
	int32_t		levels;			/* int8: highest activation code, 127; fp32: 0 */
	int32_t		zero[10];
} LatLinearHeader;

_Static_assert(sizeof(LatConfig) == 96, "LatConfig is part of the format");
_Static_assert(sizeof(LatImageHeader) == 128, "LatImageHeader is part of the format");
_Static_assert(sizeof(LatSection) == 24, "LatSection is part of the format");
_Static_assert(sizeof(LatLinearHeader) == 64, "LatLinearHeader is part of the format");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

/* Sections of an image of this configuration, in order, with their layers; returns how many. */
extern int	lat_list_sections(const LatConfig *config, LatSection *sections);
#define LAT_MAX_SECTIONS (LAT_SECTION_KINDS + 6 * LAT_MAX_LAYERS)

/*
 * Size in bytes of a section of this kind, or 0 where only the content knows (labels, vocabulary).
 * The configuration must have passed lat_check_config.
 */
extern uint64_t lat_section_size(const LatConfig *config, LatPrecision precision,
								 LatSectionKind kind);

/*
 * Give every listed section its offset and size; those of labels and vocabulary
 * have their sizes already.  Returns the size of the image, 0 if it is too large
 * for this machine.  A layout has no freedom: sections follow each other in
 * order, each at the next multiple of 64, and so does the image's end.
 */
extern uint64_t lat_place_sections(const LatConfig *config, LatPrecision precision,
								   LatSection *sections, int count);

/* The header of a linear section. */
extern void lat_fill_linear_header(const LatConfig *config, LatPrecision precision,
								   LatSectionKind kind, LatLinearHeader *header);

/* What a section is called in messages. */
extern const char *lat_section_name(LatSectionKind kind);

/* Depth and columns of a linear section. */
extern void lat_linear_shape(const LatConfig *config, LatSectionKind kind, int32_t *k, int32_t *n);

/* LAT_BAD_MODEL or LAT_UNSUPPORTED unless every field lies in its range and they fit each other. */
extern LatStatus lat_check_config(const LatConfig *config, LatError *error);

#endif							/* LAT_FORMAT_H */
