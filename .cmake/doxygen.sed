# Comments behind members are their documentation.
s@([;,] +)// @\1///< @
