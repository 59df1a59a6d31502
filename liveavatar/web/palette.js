/* The colours of liveavatar/web/palette.py. Python puts them here when scripts are joined (liveavatar/web/assembly.py);
   without them, node can still import the rest. */

export const LA_COLOURS = {};
export const LA_STEPS = [];          // of the sampler steps, in their order
