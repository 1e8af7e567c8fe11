"""Charts of runs, experiments and simulations by matplotlib; `chart_style` holds colours, axes, legends and the conversion to SVG."""
