/*
 * safetensors.c
 *	  Reading model.safetensors: a header of JSON, then the tensors' bytes.
 *
 *		offset  size  meaning
 *			 0     8  n, bytes of the header, little-endian
 *			 8     n  {"name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, ...,
 *					   "__metadata__": {...}}
 *		 8 + n        data; offsets count from here
 *
 * Nothing of it is believed.  The header is limited in length, depth (json.c)
 * and entries before anything is allocated by it; each tensor's byte count must
 * be that of its shape; sorted by offset, the tensors must follow each other
 * from the first byte to the last.  Duplicate names show after sorting by name.
 *
 * Sorting is done here, since the C library's qsort may allocate.
 */
#include "safetensors.h"

#include <string.h>

#define HEADER_LIMIT ((uint64_t) 16 << 20)	/* the format's own limit is 100 MB */
#define MOST_TENSORS 16384		/* sixteen a layer and a few more are enough for any encoder */
#define NAME_LIMIT 256			/* bytes of the longest tensor name */

typedef struct DtypeEntry
{
	const char *name;
	LatDtype	dtype;
	int			element_size;
} DtypeEntry;

static const DtypeEntry dtypes[] = {
	{"F32", LAT_DTYPE_F32, 4}, {"F16", LAT_DTYPE_F16, 2}, {"BF16", LAT_DTYPE_BF16, 2},
	{"F64", LAT_DTYPE_OTHER, 8}, {"I64", LAT_DTYPE_OTHER, 8}, {"U64", LAT_DTYPE_OTHER, 8},
	{"I32", LAT_DTYPE_OTHER, 4}, {"U32", LAT_DTYPE_OTHER, 4}, {"I16", LAT_DTYPE_OTHER, 2},
	{"U16", LAT_DTYPE_OTHER, 2}, {"I8", LAT_DTYPE_OTHER, 1}, {"U8", LAT_DTYPE_OTHER, 1},
	{"BOOL", LAT_DTYPE_OTHER, 1}, {"F8_E4M3", LAT_DTYPE_OTHER, 1},
	{"F8_E5M2", LAT_DTYPE_OTHER, 1}, {"C64", LAT_DTYPE_OTHER, 8}
};

/* LAT_BAD_MODEL: `problem`, said of a tensor. */
static LatStatus
bad_tensor(const LatTensor *tensor, const char *problem, LatError *error)
{
	lat_fail(error, LAT_BAD_MODEL, "tensor \"%.*s\" in model.safetensors %s",
			 (int) tensor->name.size, tensor->name.bytes, problem);
	return lat_hint(error, LAT_BAD_MODEL,
					"The file is damaged or incomplete; copy it again from its source.");
}

static LatStatus
bad_file(LatError *error, const char *problem)
{
	lat_fail(error, LAT_BAD_MODEL, "model.safetensors %s", problem);
	return lat_hint(error, LAT_BAD_MODEL,
					"The file is damaged or incomplete; copy it again from its source.");
}

/* ---- header ------------------------------------------------------------------------------- */

static LatStatus
read_dtype(LatJson *json, LatTensor *tensor, LatError *error)
{
	LatJsonValue value;

	if (!lat_json_next(json, &value))
		return LAT_OK;
	if (value.type != LAT_JSON_STRING)
		return bad_tensor(tensor, "has a dtype that is not a string", error);
	for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++)
	{
		if (lat_json_is(value.text, dtypes[i].name))
		{
			tensor->dtype = dtypes[i].dtype;
			tensor->element_size = dtypes[i].element_size;
			return LAT_OK;
		}
	}
	return bad_tensor(tensor, "has an unknown dtype", error);
}

/* Read an array of at most `most` integers from 0 up. */
static LatStatus
read_integers(LatJson *json, const LatTensor *tensor, int64_t *integers, int most, int *count,
			  LatError *error)
{
	LatJsonValue value;

	*count = 0;
	if (!lat_json_next(json, &value))
		return LAT_OK;
	if (value.type != LAT_JSON_ARRAY)
		return bad_tensor(tensor, "has a shape or data_offsets that is not an array", error);
	while (lat_json_element(json) && lat_json_next(json, &value))
	{
		if (*count == most)
			return bad_tensor(tensor, "has too many dimensions or data_offsets", error);
		if (!lat_json_integer(&value, &integers[*count]) || integers[*count] < 0)
			return bad_tensor(tensor,
							  "has a shape or data_offsets other than whole numbers from 0 up",
							  error);
		(*count)++;
	}
	return LAT_OK;
}

static LatStatus
read_offsets(LatJson *json, LatTensor *tensor, LatError *error)
{
	int64_t		offsets[2] = {0, 0};
	int			count;
	LatStatus	status = read_integers(json, tensor, offsets, 2, &count, error);

	if (status == LAT_OK && json->status == LAT_OK && count != 2)
		status = bad_tensor(tensor, "does not have two data_offsets", error);
	tensor->start = (uint64_t) offsets[0];
	tensor->stop = (uint64_t) offsets[1];
	return status;
}

/* Do the bytes between the offsets hold exactly the shape's elements, inside the file? */
static LatStatus
check_extent(const LatTensor *tensor, uint64_t data_size, LatError *error)
{
	uint64_t	bytes = (uint64_t) tensor->element_size;

	if (tensor->start > tensor->stop)
		return bad_tensor(tensor, "has reversed data_offsets", error);
	if (tensor->stop > data_size)
		return bad_tensor(tensor, "has data_offsets beyond the end of the file", error);
	for (int i = 0; i < tensor->rank; i++)
	{
		if (__builtin_mul_overflow(bytes, (uint64_t) tensor->shape[i], &bytes))
			return bad_tensor(tensor, "has a shape whose product overflows", error);
	}
	if (bytes != tensor->stop - tensor->start)
		return bad_tensor(tensor, "has a shape and dtype that do not fit its number of bytes",
						  error);
	return LAT_OK;
}

/* Read what stands behind a tensor's name. */
static LatStatus
read_tensor(LatJson *json, LatTensor *tensor, uint64_t data_size, LatError *error)
{
	LatJsonValue value;
	LatJsonText key;
	LatStatus	status = LAT_OK;
	int			seen = 0;		/* bits: dtype, shape, data_offsets */

	if (!lat_json_next(json, &value))
		return LAT_OK;
	if (value.type != LAT_JSON_OBJECT)
		return bad_tensor(tensor, "is not described by an object", error);
	while (status == LAT_OK && lat_json_member(json, &key))
	{
		int			bit;

		if (lat_json_is(key, "dtype"))
			bit = 1;
		else if (lat_json_is(key, "shape"))
			bit = 2;
		else if (lat_json_is(key, "data_offsets"))
			bit = 4;
		else
			return bad_tensor(tensor, "has a key other than dtype, shape and data_offsets", error);
		if (seen & bit)
			return bad_tensor(tensor, "has a key twice", error);
		seen |= bit;
		if (bit == 1)
			status = read_dtype(json, tensor, error);
		else if (bit == 2)
			status = read_integers(json, tensor, tensor->shape, LAT_TENSOR_RANK, &tensor->rank,
								   error);
		else
			status = read_offsets(json, tensor, error);
	}
	if (status != LAT_OK || json->status != LAT_OK)
		return status;
	if (seen != 7)
		return bad_tensor(tensor, "lacks its dtype, shape or data_offsets", error);
	return check_extent(tensor, data_size, error);
}

/* Room for one more tensor. */
static LatStatus
grow(const LatHost *host, LatTensors *tensors, LatError *error)
{
	int			capacity = tensors->capacity ? tensors->capacity * 2 : 256;
	LatTensor  *items;

	if (tensors->count < tensors->capacity)
		return LAT_OK;
	if (tensors->count == MOST_TENSORS)
	{
		lat_fail(error, LAT_UNSUPPORTED, "model.safetensors has more than %d tensors",
				 MOST_TENSORS);
		return lat_hint(error, LAT_UNSUPPORTED, "No encoder that lat runs needs that many.");
	}
	items = host->alloc(host->arg, (size_t) capacity * sizeof(LatTensor));
	if (items == NULL)
		return lat_fail(error, LAT_NO_MEMORY, "out of memory for %d tensors", capacity);
	if (tensors->count > 0)
		memcpy(items, tensors->items, (size_t) tensors->count * sizeof(LatTensor));
	host->release(host->arg, tensors->items);
	tensors->items = items;
	tensors->capacity = capacity;
	return LAT_OK;
}

static LatStatus
read_entries(const LatHost *host, LatJson *json, LatTensors *tensors, uint64_t data_size,
			 LatError *error)
{
	LatJsonText name;
	LatStatus	status;
	bool		metadata = false;

	while (lat_json_member(json, &name))
	{
		LatTensor  *tensor;

		if (lat_json_is(name, "__metadata__"))
		{
			if (metadata)
				return bad_file(error, "has the key \"__metadata__\" twice");
			metadata = true;
			lat_json_skip(json);
			continue;
		}
		if (name.size > NAME_LIMIT)
			return bad_file(error, "has a tensor whose name is too long");
		if ((status = grow(host, tensors, error)) != LAT_OK)
			return status;
		tensor = &tensors->items[tensors->count];
		memset(tensor, 0, sizeof(LatTensor));
		tensor->name = name;
		if ((status = read_tensor(json, tensor, data_size, error)) != LAT_OK)
			return status;
		tensors->count++;
	}
	return LAT_OK;
}

/* ---- order -------------------------------------------------------------------------------- */

static int
compare_names(const LatTensor *a, const LatTensor *b)
{
	return lat_json_compare(a->name, b->name);
}

static int
compare_offsets(const LatTensor *a, const LatTensor *b)
{
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return (a->stop > b->stop) - (a->stop < b->stop);
}

/* Move the entry at the root down to where it belongs in the heap of `count` entries. */
static void
sift_down(LatTensor *items, int root, int count,
		  int (*compare) (const LatTensor *a, const LatTensor *b))
{
	LatTensor	moving = items[root];
	int			child;

	while ((child = 2 * root + 1) < count)
	{
		if (child + 1 < count && compare(&items[child], &items[child + 1]) < 0)
			child++;
		if (compare(&moving, &items[child]) >= 0)
			break;
		items[root] = items[child];
		root = child;
	}
	items[root] = moving;
}

/* Heapsort: no memory, and no input is bad for it. */
static void
sort_tensors(LatTensors *tensors, int (*compare) (const LatTensor *a, const LatTensor *b))
{
	for (int i = tensors->count / 2 - 1; i >= 0; i--)
		sift_down(tensors->items, i, tensors->count, compare);
	for (int i = tensors->count - 1; i > 0; i--)
	{
		LatTensor	largest = tensors->items[0];

		tensors->items[0] = tensors->items[i];
		tensors->items[i] = largest;
		sift_down(tensors->items, 0, i, compare);
	}
}

/* Tensors sorted by offset must cover the data from its first byte to its last. */
static LatStatus
check_cover(LatTensors *tensors, uint64_t data_size, LatError *error)
{
	uint64_t	end = 0;

	sort_tensors(tensors, compare_offsets);
	for (int i = 0; i < tensors->count; i++)
	{
		const LatTensor *tensor = &tensors->items[i];

		if (tensor->start < end)
			return bad_tensor(tensor, "overlaps another tensor", error);
		if (tensor->start > end)
			return bad_tensor(tensor, "leaves a hole in front of it", error);
		end = tensor->stop;
	}
	if (end != data_size)
		return bad_file(error, "has bytes after its last tensor");
	return LAT_OK;
}

static LatStatus
check_names(LatTensors *tensors, LatError *error)
{
	sort_tensors(tensors, compare_names);
	for (int i = 1; i < tensors->count; i++)
	{
		if (compare_names(&tensors->items[i - 1], &tensors->items[i]) == 0)
			return bad_tensor(&tensors->items[i], "is there twice", error);
	}
	return LAT_OK;
}

/* ---- the file ----------------------------------------------------------------------------- */

/* Files that stand where model.safetensors should, and that people really have. */
static LatStatus
check_impostors(const uint8_t *bytes, size_t size, LatError *error)
{
	static const char pointer[] = "version https://git-lfs";

	if (size >= sizeof(pointer) - 1 && memcmp(bytes, pointer, sizeof(pointer) - 1) == 0)
	{
		lat_fail(error, LAT_BAD_MODEL,
				 "model.safetensors is a Git LFS pointer, not the file itself");
		return lat_hint(error, LAT_BAD_MODEL, "Run \"git lfs pull\" where the file comes from.");
	}
	if (size >= 4 && (size < 9 || bytes[8] != '{') &&
		(memcmp(bytes, "PK\003\004", 4) == 0 || (bytes[0] == 0x80 && bytes[1] <= 5)))
	{
		lat_fail(error, LAT_UNSUPPORTED, "model.safetensors is a pickle");
		return lat_hint(error, LAT_UNSUPPORTED,
						"Pickles can run code when they are read; save the model again with "
						"safe_serialization=True.");
	}
	return LAT_OK;
}

LatStatus
lat_tensors_read(const LatHost *host, const uint8_t *bytes, size_t size, LatTensors *tensors,
				 LatError *error)
{
	uint64_t	header_size;
	uint64_t	data_size;
	LatJson		json;
	LatJsonValue value;
	LatStatus	status = check_impostors(bytes, size, error);

	if (status != LAT_OK)
		return status;
	if (size < sizeof(header_size))
		return bad_file(error, size == 0 ? "is empty" : "is shorter than 8 bytes");
	memcpy(&header_size, bytes, sizeof(header_size));
	if (header_size > size - sizeof(header_size))
		return bad_file(error, "is shorter than its header says");
	if (header_size > HEADER_LIMIT)
		return bad_file(error, "has a header of more than 16 MB");
	data_size = size - sizeof(header_size) - header_size;

	lat_json_begin(&json, host, "the header of model.safetensors",
				   (const char *) bytes + sizeof(header_size), (size_t) header_size);
	if (lat_json_next(&json, &value))
	{
		if (value.type != LAT_JSON_OBJECT)
			return bad_file(error, "has a header that is not a JSON object");
		status = read_entries(host, &json, tensors, data_size, error);
		if (status != LAT_OK)
			return status;
	}
	if ((status = lat_json_end(&json, error)) != LAT_OK ||
		(status = check_cover(tensors, data_size, error)) != LAT_OK ||
		(status = check_names(tensors, error)) != LAT_OK)
		return status;
	for (int i = 0; i < tensors->count; i++)
		tensors->items[i].data = bytes + (size - data_size) + tensors->items[i].start;
	return LAT_OK;
}

void
lat_tensors_release(const LatHost *host, LatTensors *tensors)
{
	host->release(host->arg, tensors->items);
	memset(tensors, 0, sizeof(LatTensors));
}

const LatTensor *
lat_tensors_find(const LatTensors *tensors, const char *name)
{
	LatTensor	wanted = {.name = {name, strlen(name), false}};
	int			low = 0;
	int			high = tensors->count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			order = compare_names(&tensors->items[middle], &wanted);

		if (order == 0)
			return &tensors->items[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* ---- elements ----------------------------------------------------------------------------- */

/*
 * A half is a float whose exponent is offset by 112: shift its bits into place
 * and multiply by 2^112.  The product is exact, for subnormal halves too.
 */
static void
convert_halves(const uint8_t *from, size_t count, float *to)
{
	for (size_t i = 0; i < count; i++)
	{
		uint16_t	half;
		uint32_t	bits;
		uint32_t	magnitude;
		float		scaled;

		memcpy(&half, from + 2 * i, sizeof(half));
		bits = (uint32_t) half;
		magnitude = (bits & 0x7fff) << 13;
		memcpy(&scaled, &magnitude, sizeof(scaled));
		scaled *= 0x1p112f;
		memcpy(&magnitude, &scaled, sizeof(magnitude));
		magnitude |= (bits & 0x8000) << 16;
		memcpy(&to[i], &magnitude, sizeof(float));
	}
}

/* A bfloat16 is the upper half of a float. */
static void
convert_bfloats(const uint8_t *from, size_t count, float *to)
{
	for (size_t i = 0; i < count; i++)
	{
		uint16_t	half;
		uint32_t	bits;

		memcpy(&half, from + 2 * i, sizeof(half));
		bits = (uint32_t) half << 16;
		memcpy(&to[i], &bits, sizeof(float));
	}
}

void
lat_tensor_floats(const LatTensor *tensor, uint64_t first, size_t count, float *to)
{
	const uint8_t *from = tensor->data + first * (uint64_t) tensor->element_size;

	if (tensor->dtype == LAT_DTYPE_F16)
		convert_halves(from, count, to);
	else if (tensor->dtype == LAT_DTYPE_BF16)
		convert_bfloats(from, count, to);
	else
		memcpy(to, from, count * sizeof(float));
}

bool
lat_tensor_finite(const LatTensor *tensor, uint64_t first, size_t count)
{
	const uint8_t *from = tensor->data + first * (uint64_t) tensor->element_size;
	uint32_t	exponent = tensor->dtype == LAT_DTYPE_F32 ? 0x7f800000
		: tensor->dtype == LAT_DTYPE_F16 ? 0x7c00 : 0x7f80;
	uint32_t	special = 0;	/* elements whose exponent is all ones */

	if (tensor->dtype == LAT_DTYPE_F32)
	{
		for (size_t i = 0; i < count; i++)
		{
			uint32_t	bits;

			memcpy(&bits, from + 4 * i, sizeof(bits));
			special |= (bits & exponent) == exponent;
		}
		return special == 0;
	}
	for (size_t i = 0; i < count; i++)
	{
		uint16_t	bits;

		memcpy(&bits, from + 2 * i, sizeof(bits));
		special |= (bits & exponent) == exponent;
	}
	return special == 0;
}
