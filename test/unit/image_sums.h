/*
 * image_sums.h
 *	  FNV-1a sums of the golden checkpoints' images: fp32, int8, vocabulary (image_test.c).
 */
	{0xd9d04133e4427077, 0xb8a1cdb5019c16b6, 0xcd700cbb5af9603b},	/* classify */
	{0xa6a07688e41f23c3, 0x1a98a0dcfcc24ff5, 0xcd700cbb5af9603b},	/* span */
	{0x3474b10562cbfa3f, 0x2c7d400629a2c294, 0xe2e68919508d1fc9},	/* tag */
	{0xfbee03b450b4c46b, 0x0ca33a98396d6176, 0xcd700cbb5af9603b},	/* embed */
	{0x9bdaeedd415f9d60, 0xbdb410ee72e27fdc, 0xcd700cbb5af9603b},	/* electra */
	{0xd52d5a5d54b93c29, 0x148af0ddd41be61b, 0xcd700cbb5af9603b},	/* distilbert */
