/* The sentences of liveavatar/glossary.py. Python puts them here when scripts are joined (liveavatar/web/assembly.py);
   without them, node can still import the rest. */

export const LA_TERMS = {};
