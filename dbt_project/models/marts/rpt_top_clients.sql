with

latest as (

    select max(as_of_date) as as_of_date from {{ ref('fct_client_scores') }}

),

final as (

    select
        scores.client_id,
        scores.band,
        clients.industry,
        clients.geography,
        alerts.main_pillar,
        alerts.main_reason,
        scores.bcrs_score,
        scores.rank_in_week_count,
        scores.is_alert,
        scores.as_of_date
    from {{ ref('fct_client_scores') }} as scores
    inner join latest on scores.as_of_date = latest.as_of_date
    left join {{ ref('dim_clients') }} as clients on scores.client_id = clients.client_id
    left join {{ ref('fct_alerts') }} as alerts
        on scores.client_id = alerts.client_id and scores.as_of_date = alerts.as_of_date
    where scores.rank_in_week_count <= {{ var('top_clients') }}
    order by scores.rank_in_week_count, scores.client_id

)

select * from final
