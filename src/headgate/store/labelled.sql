-- Predictions of one model with their truth. $model, $since, $until, $project (NULL: all), $alias (NULL: any).
--
-- A label by request and row counts for that row; of several, the one pushed last. A label by entity is true as of a
-- time (its own, else when it was pushed). It belongs to the entity's newest prediction before that time, and to older
-- ones that have none of their own; of several, the one with the latest time, pushed last. A label without a time of its
-- own that came before any prediction of the entity waits for the first one.
WITH asked AS (
    SELECT p.request_id, p.row, p.version, p.predicted, p.score, p.entity, p.predicted_at
    FROM predictions AS p JOIN exchanges AS r ON r.request_id = p.request_id
    WHERE p.model = $model AND p.predicted_at >= $since AND p.predicted_at < $until AND r.purpose = 'traffic'
      AND ($project IS NULL OR r.project = $project) AND ($alias IS NULL OR p.alias = $alias)
),
direct AS (
    SELECT request_id, row, max_by({'label': label, 'value': value}, created_at) AS truth
    FROM labels WHERE request_id IN (SELECT request_id FROM asked) GROUP BY request_id, row
),
by_entity AS (
    SELECT entity, coalesce(as_of, created_at) AS true_at, as_of IS NOT NULL AS is_dated,
           max_by({'label': label, 'value': value}, created_at) AS truth
    FROM labels WHERE model = $model AND request_id IS NULL AND entity IS NOT NULL
    GROUP BY entity, true_at, is_dated
),
turns AS (
    SELECT entity, predicted_at,
           lead(predicted_at) OVER (PARTITION BY entity ORDER BY predicted_at) AS next_at,
           row_number() OVER (PARTITION BY entity ORDER BY predicted_at) = 1 AS is_first
    FROM (SELECT DISTINCT entity, predicted_at FROM predictions WHERE model = $model AND entity IS NOT NULL)
),
owned AS (
    SELECT t.entity, t.predicted_at,
           coalesce(max_by(l.truth, l.true_at) FILTER (WHERE t.next_at IS NULL OR l.true_at < t.next_at),
                    min_by(l.truth, l.true_at)) AS truth
    FROM turns AS t JOIN by_entity AS l
      ON l.entity = t.entity AND (l.true_at >= t.predicted_at OR (t.is_first AND NOT l.is_dated))
    GROUP BY t.entity, t.predicted_at
)
SELECT a.version, a.predicted, a.score, coalesce(d.truth, o.truth).label AS label, coalesce(d.truth, o.truth).value AS value
FROM asked AS a
LEFT JOIN direct AS d ON d.request_id = a.request_id AND d.row = a.row
LEFT JOIN owned AS o ON o.entity = a.entity AND o.predicted_at = a.predicted_at
