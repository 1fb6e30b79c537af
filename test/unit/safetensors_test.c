/*
 * safetensors_test.c
 *	  Damaged JSON, damaged model.safetensors: each is refused with a clear message.
 */
#include "check.h"
#include "checkpoint.h"
#include "core/json.h"

#include <math.h>

static TestHost test;

static void
expect(const Checkpoint *checkpoint, LatStatus status, const char *message, const char *name)
{
	checkpoint_expect(&test, checkpoint, status, message, name);
}

/* ---- text that is not JSON ----------------------------------------------------------------- */

static void
test_json(void)
{
	static const char *const texts[] = {
		"hello", "{", "}", "[1]", "3", "\"x\"", "{\"a\":1}x", "{\"a\":1,}", "{\"a\" 1}", "{\"a\":}",
		"{'a':1}", "{a:1}", "{\"a\":01}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":+1}", "{\"a\":-}",
		"{\"a\":1e}", "{\"a\":0x10}", "{\"a\":NaN}", "{\"a\":tru}", "{\"a\":nulll}", "{\"a\":[1,]}",
		"{\"a\":[,1]}", "{\"a\":[1 2]}", "{\"a\":[1}", "{\"a\":{\"b\":1]}", "{\"a\":\"x}",
		"{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\ud800\"}",
		"{\"a\":\"\\udc00\"}", "{\"a\":\"\\ud800\\u0041\"}", "{\"a\":\"\t\"}", "{\"a\":\"\xff\"}",
		"{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xf5\x80\x80\x80\"}",
		"{\"a\":\"\xe2\x82\"}", "{\"a\":1}{\"b\":2}", "\xef\xbb\xbf{}", "{\"a\":1}}", "{,}",
		"{\"a\",}"
	};
	static const LatSourcePart parts[] = {
		LAT_PART_CONFIG, LAT_PART_TOKENIZER_CONFIG, LAT_PART_TOKENIZER
	};
	Checkpoint	checkpoint;
	char	   *deep = malloc(200001);

	checkpoint_read(&checkpoint, "classify");
	for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++)
	{
		char	   *good = strdup(checkpoint.parts[parts[p]]);
		size_t		size = checkpoint.sizes[parts[p]];

		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		{
			checkpoint_set(&checkpoint, parts[p], texts[i], strlen(texts[i]));
			expect(&checkpoint, LAT_BAD_MODEL, lat_part_name(parts[p]), texts[i]);
		}
		memset(deep, '[', 200000);
		memcpy(deep, "{\"a\":", 5);
		checkpoint_set(&checkpoint, parts[p], deep, 200000);
		expect(&checkpoint, LAT_BAD_MODEL, "nested too deeply", "200,000 brackets");
		for (size_t cut = 1; cut < size; cut += size / 50 + 1)
		{
			checkpoint_set(&checkpoint, parts[p], good, cut);
			expect(&checkpoint, LAT_BAD_MODEL, "not valid JSON", "a truncated file");
		}
		checkpoint_set(&checkpoint, parts[p], good, size);
		free(good);
	}
	expect(&checkpoint, LAT_OK, "", "the original again");
	free(deep);
	checkpoint_free(&checkpoint);
}

static void
test_numbers(void)
{
	static const struct
	{
		const char *text;
		double		number;
	}			doubles[] =
	{
		{"1e-12", 1e-12}, {"0.1", 0.1}, {"-0.5e1", -5}, {"0", 0}, {"1e400", INFINITY}, {"0e400", 0},
		{"1e-400", 0},
		{"123456789012345678901234567890", 123456789012345678901234567890.0}, {"1E+2", 100},
		{"0.000000000000000000000000000001", 1e-30}
	};
	static const struct
	{
		const char *text;
		bool		fits;
		int64_t		integer;
	}			integers[] =
	{
		{"0", true, 0}, {"-1", true, -1}, {"9223372036854775807", true, INT64_MAX},
		{"-9223372036854775808", true, INT64_MIN}, {"9223372036854775808", false, 0},
		{"-9223372036854775809", false, 0}, {"1.0", false, 0}, {"1e3", false, 0}
	};

	for (size_t i = 0; i < sizeof(doubles) / sizeof(doubles[0]); i++)
	{
		LatJsonValue value = {LAT_JSON_NUMBER, {doubles[i].text, strlen(doubles[i].text), false}};
		double		number = 0;
		bool		fits = lat_json_double(&value, &number);

		if (isinf(doubles[i].number))
			CHECK(!fits, "%s is no finite number", doubles[i].text);
		else
			CHECK(fits && fabs(number - doubles[i].number) <= 1e-15 * fabs(number),
				  "%s is read as %g", doubles[i].text, number);
	}
	for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++)
	{
		LatJsonValue value = {LAT_JSON_NUMBER, {integers[i].text, strlen(integers[i].text), false}};
		int64_t		integer = 0;
		bool		fits = lat_json_integer(&value, &integer);

		CHECK(fits == integers[i].fits && (!fits || integer == integers[i].integer),
			  "%s is read as %lld", integers[i].text, (long long) integer);
	}
}

/* ---- headers of model.safetensors ----------------------------------------------------------- */

#define A_AT(shape, start, stop) \
	"\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" start "," stop "]}"
#define B_AT(start, stop) \
	"\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[" start "," stop "]}"

static void
set_weights(Checkpoint *checkpoint, uint64_t length, const char *header, size_t header_size,
			size_t data_size)
{
	size_t		size = 8 + header_size + data_size;
	char	   *bytes = calloc(1, size);

	memcpy(bytes, &length, 8);
	memcpy(bytes + 8, header, header_size);
	checkpoint_set(checkpoint, LAT_PART_WEIGHTS, bytes, size);
	free(bytes);
}

static void
test_headers(Checkpoint *checkpoint)
{
	static const struct
	{
		const char *header;
		size_t		data;
		const char *message;
	}			headers[] =
	{
		{"{" A_AT("[2]", "0", "8") "," B_AT("8", "12") "}", 12, "no tensor \"bert."},
		{"{" A_AT("[2]", "0", "8") "," B_AT("4", "8") "}", 8, "overlaps"},
		{"{" A_AT("[2]", "0", "8") "," B_AT("0", "4") "}", 8, "overlaps"},
		{"{" A_AT("[2]", "0", "8") "," B_AT("12", "16") "}", 16, "hole"},
		{"{" A_AT("[2]", "4", "12") "}", 12, "hole"},
		{"{" A_AT("[2]", "0", "8") "}", 12, "bytes after its last tensor"},
		{"{}", 4, "bytes after its last tensor"},
		{"{" A_AT("[2]", "-8", "0") "}", 8, "whole numbers"},
		{"{" A_AT("[2]", "8", "0") "}", 8, "reversed"},
		{"{" A_AT("[2]", "0", "9223372036854775807") "}", 8, "beyond the end"},
		{"{" A_AT("[2]", "0", "18446744073709551616") "}", 8, "whole numbers"},
		{"{" A_AT("[3]", "0", "12") "}", 8, "beyond the end"},
		{"{" A_AT("[2]", "0", "8.0") "}", 8, "whole numbers"},
		{"{" A_AT("[2]", "0", "1e999") "}", 8, "whole numbers"},
		{"{" A_AT("[-2]", "0", "8") "}", 8, "whole numbers"},
		{"{" A_AT("[[2]]", "0", "8") "}", 8, "whole numbers"},
		{"{" A_AT("[1]", "0", "8") "}", 8, "do not fit"},
		{"{" A_AT("[4]", "0", "8") "}", 8, "do not fit"},
		{"{" A_AT("[4611686018427387904,4]", "0", "8") "}", 8, "overflows"},
		{"{" A_AT("[9223372036854775807]", "0", "8") "}", 8, "overflows"},
		{"{" A_AT("[4294967296,4294967296]", "0", "0") "}", 0, "overflows"},
		{"{" A_AT("[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "too many dimensions"},
		{"{" A_AT("2", "0", "8") "}", 8, "not an array"},
		{"{" A_AT("[2]", "0", "4,8") "}", 8, "too many"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "two data_offsets"},
		{"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype"},
		{"{\"a\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "not a string"},
		{"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "lacks"},
		{"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "lacks"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "lacks"},
		{"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
		"twice"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8,
		"other than"},
		{"{" A_AT("[1]", "0", "4") "," A_AT("[1]", "4", "8") "}", 8, "is there twice"},
		{"{" A_AT("[1]", "0",
		"4") ",\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
		"is there twice"},
		{"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "\"__metadata__\" twice"},
		{"{\"a\":3}", 0, "not described by an object"},
		{"[]", 0, "not a JSON object"},
		{"nonsense", 0, "not valid JSON"},
		{"", 0, "not valid JSON"},
		{"{" A_AT("[2]", "0", "8"), 8, "not valid JSON"}
	};

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
	{
		size_t		size = strlen(headers[i].header);

		set_weights(checkpoint, size, headers[i].header, size, headers[i].data);
		expect(checkpoint, LAT_BAD_MODEL, headers[i].message, headers[i].header);
	}
}

static void
test_header_bombs(Checkpoint *checkpoint)
{
	size_t		size = (size_t) 17 << 20;
	char	   *header = malloc(size);
	size_t		used = 1;

	set_weights(checkpoint, UINT64_MAX, "{}", 2, 0);
	expect(checkpoint, LAT_BAD_MODEL, "shorter than its header", "a header of 2^64 - 1 bytes");
	set_weights(checkpoint, (uint64_t) 1 << 63, "{}", 2, 0);
	expect(checkpoint, LAT_BAD_MODEL, "shorter than its header", "a header of 2^63 bytes");
	set_weights(checkpoint, 3, "{}", 2, 0);
	expect(checkpoint, LAT_BAD_MODEL, "shorter than its header", "a header one byte too long");
	memset(header, ' ', size);
	set_weights(checkpoint, size, header, size, 0);
	expect(checkpoint, LAT_BAD_MODEL, "more than 16 MB", "a header of 17 MB");
	memset(header, '[', size);
	memcpy(header, "{\"a\":", 5);
	set_weights(checkpoint, 1000000, header, 1000000, 0);
	expect(checkpoint, LAT_BAD_MODEL, "not described by an object", "a million brackets");
	memcpy(header, "{\"__metadata__\":", 16);
	set_weights(checkpoint, 1000000, header, 1000000, 0);
	expect(checkpoint, LAT_BAD_MODEL, "nested too deeply", "a million brackets in the metadata");
	header[0] = '{';
	for (int i = 0; i < 100000; i++)
		used += (size_t) sprintf(header + used, "%s\"%d\":{\"dtype\":\"F32\",\"shape\":[0],"
								 "\"data_offsets\":[0,0]}", i ? "," : "", i);
	header[used++] = '}';
	set_weights(checkpoint, used, header, used, 0);
	expect(checkpoint, LAT_UNSUPPORTED, "more than 16384 tensors", "100,000 tensors");
	used = (size_t) sprintf(header, "{\"%0300d\":", 7);
	set_weights(checkpoint, used, header, used, 0);
	expect(checkpoint, LAT_BAD_MODEL, "name is too long", "a tensor name of 300 bytes");
	free(header);
}

static void
test_weights(void)
{
	static const char *const cuts[] = {"", "1234567", "\x02\0\0\0\0\0\0\0{"};
	static const size_t cut_sizes[] = {0, 7, 9};
	Checkpoint	checkpoint;
	size_t		size;
	char	   *good;

	checkpoint_read(&checkpoint, "classify");
	size = checkpoint.sizes[LAT_PART_WEIGHTS];
	good = malloc(size);
	memcpy(good, checkpoint.parts[LAT_PART_WEIGHTS], size);

	for (int i = 0; i < 3; i++)
	{
		checkpoint_set(&checkpoint, LAT_PART_WEIGHTS, cuts[i], cut_sizes[i]);
		expect(&checkpoint, LAT_BAD_MODEL, "model.safetensors", "a file of a few bytes");
	}
	for (size_t cut = 8; cut < size; cut += size / 40)
	{
		checkpoint_set(&checkpoint, LAT_PART_WEIGHTS, good, cut);
		expect(&checkpoint, LAT_BAD_MODEL, "", "truncated weights");
	}
	checkpoint_set(&checkpoint, LAT_PART_WEIGHTS, "PK\003\004 and so on", 14);
	expect(&checkpoint, LAT_UNSUPPORTED, "pickle", "a zipped pickle");
	checkpoint_set(&checkpoint, LAT_PART_WEIGHTS, "\x80\x02}q\x01 and so on", 15);
	expect(&checkpoint, LAT_UNSUPPORTED, "pickle", "a pickle");
	checkpoint_set(&checkpoint, LAT_PART_WEIGHTS, "version https://git-lfs.github.com/spec/v1\n",
				   43);
	expect(&checkpoint, LAT_BAD_MODEL, "LFS", "a Git LFS pointer");
	test_headers(&checkpoint);
	test_header_bombs(&checkpoint);
	checkpoint_free(&checkpoint);
	free(good);
}

int
main(void)
{
	test_host_init(&test);
	test_json();
	test_numbers();
	test_weights();
	return check_done("safetensors_test");
}
