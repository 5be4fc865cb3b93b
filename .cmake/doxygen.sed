# For Doxygen: comments behind members are their documentation, and names of tokens in comments no tags or commands.
s@([;,] +)// @\1///< @
:again
s@(//.*[ (])(</?[a-z_0-9]+>|\\[a-z]\b)@\1`\2`@
tagain
