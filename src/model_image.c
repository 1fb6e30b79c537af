/*
 * model_image.c
 *	  The image of a stored model, made of what the tables hold.
 *
 *		a checkpoint's files			--lat_packer--> fp32 or int8
 *		an image in fp32 (trained here)	as it is, or --lat_convert--> int8
 *		an image in int8 (shipped)		as it is; there is no other
 *
 * Contents are checked as a stranger's: who may write lat_model_chunk must not
 * thereby be able to crash a server.
 */
#include "postgres.h"

#include "catalog.h"
#include "core/lat_training.h"
#include "model_image.h"
#include "settings.h"

/*
 * glibc keeps freed blocks below 32 MB for reuse once it has seen one; above, they
 * always go back to the system.  Ours are needed once in a process's life, so
 * the image's block is never smaller; untouched pages cost nothing.
 */
#define LEAST_BLOCK_BYTES ((size_t) 33 * 1024 * 1024)

static LatModel *
open_image(const void *content, size_t size)
{
	LatModel   *model = palloc(sizeof(LatModel));
	LatError	error;

	core_check(lat_model_open(content, size, model, &error), &error);
	core_check(lat_model_verify(host_current(), model, &error), &error);
	return model;
}

/* An image in another precision than wanted. */
static const void *
convert_image(const LatModel *model, LatPrecision precision, size_t *size)
{
	LatError	error;
	void	   *image;

	if (model->precision != LAT_FP32)
	{
		lat_fail(&error, LAT_UNSUPPORTED, "the model is stored in precision %s only",
				 lat_precision_name(model->precision));
		core_check(lat_hint(&error, LAT_UNSUPPORTED,
							"Set lat.precision to %s, or import the checkpoint it was made from.",
							lat_precision_name(model->precision)), &error);
	}
	*size = lat_convert_size(model, NULL, precision);
	image = host_allocate_aligned(Max(*size, LEAST_BLOCK_BYTES));
	core_check(lat_convert(host_current(), model, NULL, precision, image, &error), &error);
	return image;
}

static const void *
pack_source(const char *content, LatPrecision precision, size_t *size)
{
	LatPacker  *packer;
	LatError	error;
	void	   *image;

	core_check(lat_packer_open(host_current(), content, *size, precision, &packer, &error), &error);
	*size = lat_packer_image_size(packer);
	image = host_allocate_aligned(Max(*size, LEAST_BLOCK_BYTES));
	core_check(lat_packer_write(packer, image, &error), &error);
	return image;
}

const void *
model_image_build(const char *digest, LatPrecision precision, size_t *size)
{
	char	   *content = catalog_read_content(digest, size);
	LatModel   *model;

	if (!lat_is_image(content, *size))
		return pack_source(content, precision, size);
	model = open_image(content, *size);
	if (model->precision == precision)
		return content;
	return convert_image(model, precision, size);
}

const void *
model_image_build_base(const char *digest, size_t *size)
{
	char	   *content = catalog_read_content(digest, size);

	if (!lat_is_image(content, *size))
		return pack_source(content, LAT_FP32, size);
	(void) open_image(content, *size);
	return content;
}
