/*
 * pareto_svg.c
 *	  lat_pareto_svg: a model's quality against its cost, as a picture.
 *
 *		lat_pareto, lat_search_point --SPI--> curves and points --ranges, ticks--> SVG
 *
 *		points		light: every configuration that a search has tried, with its quality on
 *					the half of the data that selects
 *		line		the points of lat_pareto, which calls choose from, with their quality on
 *					the other half, and its 95 % interval as a band
 *		dashes		the points of a second model, if one is named: a plainly fine-tuned one
 *					shows what training with LengthDrop has gained
 *
 * The text stands alone: no script, no foreign font, colours for light and for
 * dark mode in its own style element.  Classes instead of custom properties,
 * which renderers outside of browsers often lack.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "model_store.h"
#include "statement.h"
#include "utils/builtins.h"

/* The picture in its own units; the plot is what the axes enclose. */
#define WIDTH 720
#define PLOT_LEFT 68
#define PLOT_RIGHT 700
#define PLOT_TOP 50
#define PLOT_BOTTOM 370
#define LEGEND_TOP 432
#define LEGEND_LINE 22

#define MOST_TICKS 7
#define ROOM_BELOW 0.35			/* of the curves' height, for points worse than all of them */

typedef struct CurvePoint
{
	double		fraction;
	double		quality;
	double		low;			/* not finite: not known */
	double		high;
	char	   *lengths;
} CurvePoint;

/* A model's row of lat_pareto. */
typedef struct Curve
{
	char	   *name;
	char	   *metric;			/* NULL: not known */
	int			count;
	CurvePoint *points;			/* (count) by rising fraction */
} Curve;

/* A configuration that was tried. */
typedef struct TriedPoint
{
	double		fraction;
	double		quality;
} TriedPoint;

typedef struct Axis
{
	double		from;			/* value at the first end of the plot */
	double		to;
	double		step;			/* between ticks */
	double		first;			/* place of `from` */
	double		last;			/* place of `to` */
} Axis;

typedef struct Picture
{
	Curve		curve;
	Curve		beside;			/* count 0: none */
	TriedPoint *tried;
	int			tried_count;
	Axis		x;
	Axis		y;
	StringInfoData svg;
} Picture;

PG_FUNCTION_INFO_V1(lat_pareto_svg);

/* Rows of lat_pareto may be written by hand. NaN is above infinity. */
#define FINITE_QUALITY "AND quality OPERATOR(pg_catalog.<) 'Infinity' " \
	"AND quality OPERATOR(pg_catalog.>) '-Infinity' "

/* ---- what is drawn ------------------------------------------------------------------------ */

static double
real_column(uint64 row, int column)
{
	bool		is_null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column,
									  &is_null);

	return is_null ? NAN : DatumGetFloat8(value);
}

/* In SPI's memory, as everything here. */
static void
read_curve(const char *name, Curve *curve)
{
	ModelRow   *model = catalog_get_model(name);
	Arguments	arguments = {0};
	uint64		i;

	add_text(&arguments, model->digest);
	curve->name = model->name;
	curve->count = read_sql("SELECT fraction, quality, quality_low, quality_high, "
							"lengths::pg_catalog.text, metric FROM %1$s.lat_pareto "
							"WHERE digest OPERATOR(pg_catalog.=) $1 " FINITE_QUALITY
							"ORDER BY fraction, quality DESC", &arguments);
	if (curve->count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" has no points in lat_pareto", name),
				 errhint("lat_search(model, data) finds them.")));
	curve->points = palloc(curve->count * sizeof(CurvePoint));
	for (i = 0; i < (uint64) curve->count; i++)
	{
		curve->points[i] = (CurvePoint) {
			real_column(i, 1), real_column(i, 2), real_column(i, 3), real_column(i, 4),
				SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 5)
		};
		if (curve->metric == NULL)
			curve->metric = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 6);
	}
}

static void
read_tried(const char *name, Picture *picture)
{
	Arguments	arguments = {0};
	int			i;

	add_text(&arguments, catalog_get_model(name)->digest);
	picture->tried_count = read_sql("SELECT fraction, quality FROM %1$s.lat_search_point "
									"WHERE digest OPERATOR(pg_catalog.=) $1 " FINITE_QUALITY
									"ORDER BY fraction, quality", &arguments);
	picture->tried = palloc(Max(picture->tried_count, 1) * sizeof(TriedPoint));
	for (i = 0; i < picture->tried_count; i++)
		picture->tried[i] = (TriedPoint) {
			real_column(i, 1), real_column(i, 2)
		};
}

static void
check_metrics(const Curve *curve, const Curve *beside)
{
	if (curve->metric && beside->metric && strcmp(curve->metric, beside->metric) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("models \"%s\" and \"%s\" cannot be shown beside each other",
						curve->name, beside->name),
				 errdetail("The quality of one is its %s, of the other its %s.", curve->metric,
						   beside->metric),
				 errhint("Search both with the same data.")));
}

/* ---- axes --------------------------------------------------------------------------------- */

/* Round outwards to ticks at multiples of 1, 2 or 5 times a power of ten. */
static void
set_range(Axis *axis, double from, double to)
{
	static const double steps[] = {1, 2, 5, 10};
	double		power;
	int			i = 0;

	if (!(to - from > 1e-9 * fabs(to)))
	{
		from -= 0.5;
		to += 0.5;
	}
	power = pow(10, floor(log10((to - from) / MOST_TICKS)));
	while (i < 3 && (to - from) / (steps[i] * power) > MOST_TICKS)
		i++;
	axis->step = steps[i] * power;
	axis->from = axis->step * floor(from / axis->step + 1e-9);
	axis->to = axis->step * ceil(to / axis->step - 1e-9);
}

static double
place_on(const Axis *axis, double value)
{
	return axis->first + (value - axis->from) / (axis->to - axis->from) *
		(axis->last - axis->first);
}

static void
extend(double *from, double *to, double value)
{
	if (!isfinite(value))
		return;
	*from = Min(*from, value);
	*to = Max(*to, value);
}

static void
set_axes(Picture *picture)
{
	const Curve *curves[2] = {&picture->curve, &picture->beside};
	double		least = 1;
	double		most = 1;
	double		low = picture->curve.points[0].quality;
	double		high = low;
	double		floor_of_points;
	int			c;
	int			i;

	for (c = 0; c < 2; c++)
	{
		for (i = 0; i < curves[c]->count; i++)
		{
			extend(&least, &most, curves[c]->points[i].fraction);
			extend(&low, &high, curves[c]->points[i].quality);
			extend(&low, &high, curves[c]->points[i].low);
			extend(&low, &high, curves[c]->points[i].high);
		}
	}

	/* configurations that are no good must not press the good ones together */
	floor_of_points = low - ROOM_BELOW * (high - low);
	for (i = 0; i < picture->tried_count; i++)
	{
		extend(&least, &most, picture->tried[i].fraction);
		extend(&low, &high, Max(picture->tried[i].quality, floor_of_points));
	}
	set_range(&picture->x, least, most);
	set_range(&picture->y, low, high);
	picture->x.first = PLOT_LEFT;
	picture->x.last = PLOT_RIGHT;
	picture->y.first = PLOT_BOTTOM;
	picture->y.last = PLOT_TOP;
}

static bool
is_shown(const Picture *picture, const TriedPoint *point)
{
	return point->quality >= picture->y.from && point->quality <= picture->y.to;
}

/* ---- SVG ---------------------------------------------------------------------------------- */

/* Text in the server's encoding, with what XML reserves or forbids made harmless. */
static void
append_escaped(StringInfo svg, const char *text)
{
	const char *c;

	for (c = text; *c; c++)
	{
		switch (*c)
		{
			case '&':
				appendStringInfoString(svg, "&amp;");
				break;
			case '<':
				appendStringInfoString(svg, "&lt;");
				break;
			case '>':
				appendStringInfoString(svg, "&gt;");
				break;
			case '"':
				appendStringInfoString(svg, "&quot;");
				break;
			default:
				appendStringInfoChar(svg, (unsigned char) *c < 0x20 || *c == 0x7f ? ' ' : *c);
		}
	}
}

static const char *
metric_of(const Picture *picture)
{
	const char *metric = picture->curve.metric ? picture->curve.metric : picture->beside.metric;

	return metric ? metric : "quality";
}

static void
append_head(Picture *picture)
{
	StringInfo	svg = &picture->svg;
	int			keys = 1 + (picture->beside.count > 0) + (picture->tried_count > 0);
	int			height = LEGEND_TOP + keys * LEGEND_LINE;

	appendStringInfo(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
					 "width=\"%d\" height=\"%d\" role=\"img\" aria-labelledby=\"title\">\n",
					 WIDTH, height, WIDTH, height);
	appendStringInfoString(svg, "<title id=\"title\">");
	append_escaped(svg, picture->curve.name);
	appendStringInfoString(svg, ": ");
	append_escaped(svg, metric_of(picture));
	appendStringInfoString(svg, " against cost</title>\n"
						   "<style>\n"
						   "text { font: 13px system-ui, sans-serif; fill: #24292f; }\n"
						   ".head { font-size: 16px; font-weight: 600; }\n"
						   ".paper { fill: #ffffff; }\n"
						   ".grid { stroke: #d8dee4; }\n"
						   ".axis { stroke: #57606a; fill: none; }\n"
						   ".tried { fill: #8c959f; fill-opacity: 0.45; }\n"
						   ".band { fill: #0969da; fill-opacity: 0.16; }\n"
						   ".line { stroke: #0969da; stroke-width: 2; fill: none; }\n"
						   ".mark { fill: #0969da; }\n"
						   ".line2 { stroke: #bc4c00; stroke-width: 2; fill: none; "
						   "stroke-dasharray: 6 4; }\n"
						   ".mark2 { fill: #bc4c00; }\n"
						   "@media (prefers-color-scheme: dark) {\n"
						   "text { fill: #e6edf3; }\n"
						   ".paper { fill: #0d1117; }\n"
						   ".grid { stroke: #30363d; }\n"
						   ".axis { stroke: #8b949e; }\n"
						   ".tried { fill: #8b949e; }\n"
						   ".band { fill: #58a6ff; fill-opacity: 0.22; }\n"
						   ".line { stroke: #58a6ff; }\n"
						   ".mark { fill: #58a6ff; }\n"
						   ".line2 { stroke: #f0883e; }\n"
						   ".mark2 { fill: #f0883e; }\n"
						   "}\n"
						   "</style>\n");
	appendStringInfo(svg, "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", WIDTH, height);
	appendStringInfo(svg, "<text class=\"head\" x=\"%d\" y=\"30\">", PLOT_LEFT);
	append_escaped(svg, picture->curve.name);
	appendStringInfoString(svg, ": ");
	append_escaped(svg, metric_of(picture));
	appendStringInfoString(svg, " against cost</text>\n");
}

static void
append_axes(Picture *picture)
{
	StringInfo	svg = &picture->svg;
	const Axis *x = &picture->x;
	const Axis *y = &picture->y;
	int			ticks;
	int			i;

	ticks = (int) rint((x->to - x->from) / x->step);
	for (i = 0; i <= ticks; i++)
	{
		double		value = x->from + i * x->step;
		double		at = place_on(x, value);

		appendStringInfo(svg, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>"
						 "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n",
						 at, PLOT_TOP, at, PLOT_BOTTOM, at, PLOT_BOTTOM + 19,
						 rint(value * 1e6) / 1e6);
	}
	ticks = (int) rint((y->to - y->from) / y->step);
	for (i = 0; i <= ticks; i++)
	{
		double		value = y->from + i * y->step;
		double		at = place_on(y, value);

		appendStringInfo(svg, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>"
						 "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
						 PLOT_LEFT, at, PLOT_RIGHT, at, PLOT_LEFT - 8, at + 4.5,
						 rint(value * 1e6) / 1e6);
	}
	appendStringInfo(svg, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n",
					 PLOT_LEFT, PLOT_TOP, PLOT_BOTTOM, PLOT_RIGHT);
	appendStringInfo(svg, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">"
					 "multiply-adds as a fraction of those in full (budget)</text>\n",
					 (PLOT_LEFT + PLOT_RIGHT) / 2, PLOT_BOTTOM + 40);
	appendStringInfo(svg, "<text transform=\"translate(18 %d) rotate(-90)\" "
					 "text-anchor=\"middle\">", (PLOT_TOP + PLOT_BOTTOM) / 2);
	append_escaped(svg, metric_of(picture));
	appendStringInfoString(svg, " (%)</text>\n");
}

static void
append_tried(Picture *picture)
{
	int			i;

	appendStringInfoString(&picture->svg, "<g class=\"tried\">\n");
	for (i = 0; i < picture->tried_count; i++)
	{
		const TriedPoint *point = &picture->tried[i];

		if (is_shown(picture, point))
			appendStringInfo(&picture->svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2\"/>\n",
							 place_on(&picture->x, point->fraction),
							 place_on(&picture->y, point->quality));
	}
	appendStringInfoString(&picture->svg, "</g>\n");
}

/* Does every point have an interval? */
static bool
has_band(const Curve *curve)
{
	int			i;

	for (i = 0; i < curve->count; i++)
	{
		if (!isfinite(curve->points[i].low) || !isfinite(curve->points[i].high))
			return false;
	}
	return curve->count > 1;
}

static void
append_band(Picture *picture)
{
	StringInfo	svg = &picture->svg;
	const Curve *curve = &picture->curve;
	int			i;

	if (!has_band(curve))
		return;
	appendStringInfoString(svg, "<polygon class=\"band\" points=\"");
	for (i = 0; i < curve->count; i++)
		appendStringInfo(svg, "%.1f,%.1f ", place_on(&picture->x, curve->points[i].fraction),
						 place_on(&picture->y, curve->points[i].high));
	for (i = curve->count - 1; i >= 0; i--)
		appendStringInfo(svg, "%.1f,%.1f%s", place_on(&picture->x, curve->points[i].fraction),
						 place_on(&picture->y, curve->points[i].low), i ? " " : "");
	appendStringInfoString(svg, "\"/>\n");
}

/* Line and marks of a curve, whose classes end in `suffix`. */
static void
append_curve(Picture *picture, const Curve *curve, const char *suffix)
{
	StringInfo	svg = &picture->svg;
	int			i;

	if (curve->count == 0)
		return;
	appendStringInfo(svg, "<polyline class=\"line%s\" points=\"", suffix);
	for (i = 0; i < curve->count; i++)
		appendStringInfo(svg, "%s%.1f,%.1f", i ? " " : "",
						 place_on(&picture->x, curve->points[i].fraction),
						 place_on(&picture->y, curve->points[i].quality));
	appendStringInfo(svg, "\"/>\n<g class=\"mark%s\">\n", suffix);
	for (i = 0; i < curve->count; i++)
	{
		const CurvePoint *point = &curve->points[i];

		appendStringInfo(svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>%.3f: %.2f",
						 place_on(&picture->x, point->fraction),
						 place_on(&picture->y, point->quality), point->fraction, point->quality);
		if (isfinite(point->low) && isfinite(point->high))
			appendStringInfo(svg, " (%.2f to %.2f)", point->low, point->high);
		appendStringInfo(svg, ", lengths %s</title></circle>\n", point->lengths);
	}
	appendStringInfoString(svg, "</g>\n");
}

/* ---- legend ------------------------------------------------------------------------------- */

/* A sample of a curve, and its model's name; the text is left open. */
static void
append_curve_key(StringInfo svg, int at, const char *suffix, const char *name)
{
	appendStringInfo(svg, "<path class=\"line%s\" d=\"M%d %dh30\"/>"
					 "<circle class=\"mark%s\" cx=\"%d\" cy=\"%d\" r=\"3.5\"/>"
					 "<text x=\"%d\" y=\"%d\">",
					 suffix, PLOT_LEFT, at, suffix, PLOT_LEFT + 15, at, PLOT_LEFT + 40, at + 4);
	append_escaped(svg, name);
}

static void
append_tried_key(Picture *picture, int at)
{
	StringInfo	svg = &picture->svg;
	int			below = 0;
	int			i;

	for (i = 0; i < picture->tried_count; i++)
		below += !is_shown(picture, &picture->tried[i]);
	appendStringInfo(svg, "<circle class=\"tried\" cx=\"%d\" cy=\"%d\" r=\"3\"/>"
					 "<text x=\"%d\" y=\"%d\">%d configurations tried, "
					 "on the half of the data that selects",
					 PLOT_LEFT + 15, at, PLOT_LEFT + 40, at + 4, picture->tried_count);
	if (below > 0)
		appendStringInfo(svg, "; %d lie below the picture", below);
	appendStringInfoString(svg, "</text>\n");
}

static void
append_legend(Picture *picture)
{
	StringInfo	svg = &picture->svg;
	int			at = LEGEND_TOP;

	if (has_band(&picture->curve))
		appendStringInfo(svg, "<rect class=\"band\" x=\"%d\" y=\"%d\" width=\"30\" "
						 "height=\"14\"/>", PLOT_LEFT, at - 7);
	append_curve_key(svg, at, "", picture->curve.name);
	appendStringInfoString(svg, has_band(&picture->curve) ? ", with its 95 % interval</text>\n"
						   : "</text>\n");
	if (picture->beside.count > 0)
	{
		at += LEGEND_LINE;
		append_curve_key(svg, at, "2", picture->beside.name);
		appendStringInfoString(svg, "</text>\n");
	}
	if (picture->tried_count > 0)
		append_tried_key(picture, at + LEGEND_LINE);
}

/* ---- entry -------------------------------------------------------------------------------- */

Datum
lat_pareto_svg(PG_FUNCTION_ARGS)
{
	char	   *name = store_text_argument(fcinfo, 0, "model");
	MemoryContext context = CurrentMemoryContext;
	Picture		picture = {0};
	text	   *result;

	catalog_check_read();
	SPI_connect();
	read_curve(name, &picture.curve);
	if (!PG_ARGISNULL(1))
	{
		read_curve(text_to_cstring(PG_GETARG_TEXT_PP(1)), &picture.beside);
		check_metrics(&picture.curve, &picture.beside);
	}
	read_tried(name, &picture);
	set_axes(&picture);

	initStringInfo(&picture.svg);
	append_head(&picture);
	append_axes(&picture);
	append_band(&picture);
	append_tried(&picture);
	append_curve(&picture, &picture.beside, "2");
	append_curve(&picture, &picture.curve, "");
	append_legend(&picture);
	appendStringInfoString(&picture.svg, "</svg>\n");
	MemoryContextSwitchTo(context);
	result = cstring_to_text_with_len(picture.svg.data, picture.svg.len);
	SPI_finish();
	PG_RETURN_TEXT_P(result);
}
